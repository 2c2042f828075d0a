"""Load on one service, in a process of its own: ``python -m bench.load --port 8080 --count 1000``.

One thread sends build events over kept-alive connections and prints one JSON object. Without
``--rate`` each connection sends as soon as it is answered; with it, events leave at fixed times
whatever the answers do, and a latency runs from the time its event was due, so that a stall is
not hidden by the load waiting for it.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Self

_ANSWER_SECONDS = 30.0
_READ_BYTES = 65_536
_EVENT = (
    "POST /events HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    "Ce-Specversion: 1.0\r\nCe-Type: network.notifi.lambda.build.start\r\n"
    "Ce-Source: network.notifi.customer-{tenant}\r\nCe-Id: {run}-{number}\r\n"
    "Content-Length: {length}\r\n\r\n{body}"
)


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run."""

    begun: float
    """When the first event left, in seconds since the epoch."""
    seconds: float
    accepted: int
    refused: int
    p50_ms: float
    p99_ms: float
    worst_ms: float

    @property
    def rate(self) -> float:
        """Accepted events a second."""
        return self.accepted / self.seconds

    @classmethod
    def run(cls, port: int, *, count: int, rate: float = 0.0, connections: int = 16) -> Self:
        """Send ``count`` events from a process of its own and return what came of it."""
        command = [
            *(sys.executable, "-m", "bench.load", "--port", str(port), "--count", str(count)),
            *("--rate", str(rate), "--connections", str(connections)),
        ]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return cls(**json.loads(output))


class _Line:
    """One kept-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """Read what is there; the status once the answer is whole."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("the service closed a connection")
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length or 0):
            return None
        self._received = b""
        return int(head[9:12])


def event(run: str, number: int) -> bytes:
    """Return the request of event ``number``; its tenant and parser repeat, its id does not."""
    body = json.dumps({"parser_id": f"parser-{number % 200}", "build_args": {"N": str(number)}})
    text = _EVENT.format(tenant=number % 50, run=run, number=number, length=len(body), body=body)
    return text.encode()


def drive(port: int, *, count: int, rate: float, connections: int) -> Load:
    """Send ``count`` events; raises ``ConnectionError`` where the service does not answer."""
    run = f"{time.time_ns():x}"
    requests = [event(run, number) for number in range(count)]
    lines = [_Line(port) for _ in range(connections)]
    statuses: Counter[int] = Counter()
    begun_at = time.time()
    times = sorted(_exchange(requests, lines, rate, statuses))
    seconds = time.time() - begun_at
    for line in lines:
        line.socket.close()
    return Load(
        begun=begun_at,
        seconds=seconds,
        accepted=statuses[200],
        refused=statuses.total() - statuses[200],
        p50_ms=times[len(times) // 2] * 1e3,
        p99_ms=times[len(times) * 99 // 100] * 1e3,
        worst_ms=times[-1] * 1e3,
    )


def _exchange(
    requests: list[bytes], lines: list[_Line], rate: float, statuses: Counter[int]
) -> Iterator[float]:
    """Send everything, count the statuses, and yield each event's latency."""
    idle, begun, sent, answered = deque(lines), time.perf_counter(), 0, 0
    # Not epoll, which waits in whole milliseconds.
    with selectors.SelectSelector() as selector:
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
        while answered < len(requests):
            wait = _ANSWER_SECONDS
            while idle and sent < len(requests):
                now = time.perf_counter()
                due = begun + sent / rate if rate else now
                if due > now:
                    wait = due - now
                    break
                idle.popleft().send(requests[sent], due)
                sent += 1
            ready = selector.select(wait)
            if not ready and wait == _ANSWER_SECONDS:
                raise ConnectionError("the service does not answer")
            for key, _ in ready:
                status = key.data.receive()
                if status is not None:
                    answered += 1
                    statuses[status] += 1
                    yield time.perf_counter() - key.data.due
                    idle.append(key.data)


def main() -> None:
    """Send and print the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: no limit")
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    load = drive(
        options.port, count=options.count, rate=options.rate, connections=options.connections
    )
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
