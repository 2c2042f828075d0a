"""Load on an HTTP service, from one thread: prepared requests over connections that stay open.

Without a rate each connection sends as soon as it is answered. With one, requests leave at fixed
times whatever the answers do, and a latency runs from the time its request was *due*: a stall is
seen in every request that it delays, not hidden by the load waiting for it.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ANSWER_SECONDS = 30.0
"""Longest wait for any answer."""
_CONNECT_SECONDS = 10.0
_READ_BYTES = 65_536
_CHUNKED = b"transfer-encoding: chunked"
_TICK_SECONDS = 0.2
"""How soon ``stop`` is seen."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go."""

    host: str
    port: int
    path: str = ""
    """What stands before the paths of the service."""
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> Target:
        """Read an ``http://`` or ``https://`` address; raises ``ValueError`` for any other."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of a service")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname, port, parts.path.rstrip("/"), tls)

    def connect(self) -> socket.socket:
        """Return a new connection; raises ``OSError``."""
        connection = socket.create_connection((self.host, self.port), _CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return connection
        return ssl.create_default_context().wrap_socket(connection, server_hostname=self.host)

    def event(
        self, event_id: str, source: str, data: dict[str, object], *, token: str | None = None
    ) -> bytes:
        """Return the request that delivers a build event, with a bearer token if there is one."""
        body = json.dumps(data)
        known_by = f"Authorization: Bearer {token}\r\n" if token else ""
        return (
            f"POST {self.path}/events HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            "Content-Type: application/json\r\nCe-Specversion: 1.0\r\n"
            f"Ce-Type: network.notifi.lambda.build.start\r\nCe-Source: {source}\r\n"
            f"{known_by}Ce-Id: {event_id}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


@dataclass(slots=True)
class Answers:
    """What came back so far; read from any thread."""

    sent: int = 0
    answered: int = 0
    accepted: int = 0
    unanswered: int = 0
    """Connections that ended, or were given up, before their answer was there."""
    refused: Counter[str] = field(default_factory=Counter)
    """By status and, where the answer has one, code: ``503 queue_full``."""
    retry_after: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The least and the most seconds that refusals asked to wait, likewise."""
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Seconds, in the order of the answers."""
    begun_at: float = 0.0
    """Seconds since the epoch."""
    seconds: float = 0.0
    """From the first request to the last answer."""

    def percentile(self, percent: float) -> float:
        """Return the latency, in seconds, that ``percent`` of the answers did not exceed."""
        times = sorted(self.latencies)
        return times[min(len(times) - 1, int(len(times) * percent / 100))] if times else 0.0

    def add(self, status: int, head: bytes, body: bytes, seconds: float) -> None:
        """Count one answer; ``head`` is in lower case."""
        self.answered += 1
        self.latencies.append(seconds)
        if 200 <= status < 300:
            self.accepted += 1
            return
        name = f"{status} {_code(_whole(head, body))}".strip()
        self.refused[name] += 1
        wait = _header(head, b"retry-after")
        if wait.isdigit():
            least, most = self.retry_after.get(name, (int(wait), int(wait)))
            self.retry_after[name] = (min(least, int(wait)), max(most, int(wait)))


class _Line:
    """One kept-alive connection with at most one request under way."""

    __slots__ = ("due", "received", "sent", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.due = self.sent = 0.0
        self.received = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self, answers: Answers) -> bool:
        """Read what is there; True once the answer is whole. Raises ``OSError`` at the end."""
        data = self.socket.recv(_READ_BYTES)
        while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            data += self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("the connection was closed")
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        head = head.lower()
        if not end or not _is_whole(head, body):
            return False
        self.received = b""
        answers.add(int(head[9:12]), head, body, time.perf_counter() - self.due)
        return True


class Load:
    """One run of ``count`` requests, for ``seconds`` at most, over so many ``connections``.

    ``request`` makes the bytes of each by its number; ``rate`` is per second, 0 as soon as
    answered. ``run`` blocks; ``stop`` and ``answers`` are for other threads meanwhile.
    """

    def __init__(
        self,
        target: Target,
        request: Callable[[int], bytes],
        *,
        count: int,
        rate: float = 0.0,
        connections: int = 16,
        seconds: float = 3600.0,
    ) -> None:
        self.answers = Answers()
        self._target, self._request = target, request
        self._count, self._rate, self._seconds = count, rate, seconds
        self._connections = min(connections, count)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Send nothing more; answers that are due are waited for."""
        self._stopping.set()

    def run(self) -> Answers:
        """Send everything; raises ``OSError`` where no connection can be made."""
        lines = [_Line(self._target.connect()) for _ in range(self._connections)]
        idle, busy, answers = deque(lines), set[_Line](), self.answers
        answers.begun_at, begun = time.time(), time.perf_counter()
        try:
            while busy or self._goes_on(begun):
                wait = self._send_what_is_due(begun, idle, busy)
                # Not epoll, which waits in whole milliseconds.
                ready = select.select(busy, (), (), wait)[0]
                for line in ready or self._overdue(busy):
                    self._receive(line, idle, busy)
            answers.seconds = time.perf_counter() - begun
        finally:
            for line in (*idle, *busy):
                line.socket.close()
        return answers

    def _goes_on(self, begun: float) -> bool:
        return (
            self.answers.sent < self._count
            and not self._stopping.is_set()
            and time.perf_counter() - begun < self._seconds
        )

    def _send_what_is_due(self, begun: float, idle: deque[_Line], busy: set[_Line]) -> float:
        """Return the seconds until there is something to do."""
        while idle and self._goes_on(begun):
            now = time.perf_counter()
            due = begun + self.answers.sent / self._rate if self._rate else now
            if due > now:
                return min(due - now, _TICK_SECONDS)
            line = idle.popleft()
            line.due, line.sent = due, now
            busy.add(line)
            request = self._request(self.answers.sent)
            self.answers.sent += 1
            try:
                line.socket.sendall(request)
            except OSError:
                self._replace(line, idle, busy)
        return _TICK_SECONDS

    def _overdue(self, busy: set[_Line]) -> list[_Line]:
        """Close the connections that have been silent for too long, and return them."""
        latest = time.perf_counter() - ANSWER_SECONDS
        overdue = [line for line in busy if line.sent < latest]
        for line in overdue:
            line.socket.close()
        return overdue

    def _receive(self, line: _Line, idle: deque[_Line], busy: set[_Line]) -> None:
        try:
            if not line.receive(self.answers):
                return
        except OSError:
            self._replace(line, idle, busy)
        else:
            busy.remove(line)
            idle.append(line)

    def _replace(self, line: _Line, idle: deque[_Line], busy: set[_Line]) -> None:
        self.answers.unanswered += 1
        busy.remove(line)
        line.socket.close()
        idle.append(_Line(self._target.connect()))


def _is_whole(head: bytes, body: bytes) -> bool:
    if _CHUNKED in head:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(_header(head, b"content-length") or 0)


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


def _whole(head: bytes, body: bytes) -> bytes:
    """Return a body without its chunks' sizes."""
    if _CHUNKED not in head:
        return body
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        whole, body = whole + rest[:length], rest[length + 2 :] if length else b""
    return whole


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return ""
