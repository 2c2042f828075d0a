"""A real HTTP receiver of CloudEvents, for tests: it can refuse, be slow, or hang."""

from __future__ import annotations

import json
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.waiting import wait_until


class HttpReceiver:
    """Answers each POST with the status that ``take`` returns."""

    protocol = "HTTP/1.1"

    def __init__(self) -> None:
        self.connections = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = self.protocol

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(self.headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # of connections, as servers have; Python's own has 5

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def take(self, headers: Message, body: bytes) -> int:
        """Take a message, or do not; returns the answer's status."""
        raise NotImplementedError

    def close(self) -> None:
        """End the server; harmless twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class HttpSink(HttpReceiver):
    """Keeps what it takes in ``events``: headers in lower case, and the JSON body."""

    protocol = "HTTP/1.0"  # once it is closed, nothing that was connected before goes on

    def __init__(self) -> None:
        self.events: list[tuple[dict[str, str], Any]] = []
        self.status = 202
        self.delay = 0.0
        """Seconds before each answer."""
        self.hanging = 0
        self.forward_to = ""
        """Where each event is sent on to before it is answered, as a broker would."""
        self._let_go = threading.Event()
        self._let_go.set()
        super().__init__()

    def take(self, headers: Message, body: bytes) -> int:
        self._wait()
        if self.forward_to:
            self._forward(dict(headers), body)
        if self.status < 300:
            kept = {name.lower(): value for name, value in headers.items()}
            self.events.append((kept, json.loads(body)))
        return self.status

    def hang(self) -> None:
        """Answer nothing any more, until closed."""
        self._let_go.clear()

    def types(self) -> list[str]:
        """Return the last part of each event's type, in the order they came."""
        return [headers["ce-type"].rsplit(".", 1)[1] for headers, _ in list(self.events)]

    def close(self) -> None:
        """End the server; harmless twice."""
        self._let_go.set()
        super().close()

    def _forward(self, headers: dict[str, str], body: bytes) -> None:
        kept = {n: v for n, v in headers.items() if n.lower().startswith(("ce-", "content-type"))}
        kept["Prefer"] = "reply"
        wait_until(
            lambda: requests.post(self.forward_to, data=body, headers=kept, timeout=5).ok,
            "the event to be taken",
        )

    def _wait(self) -> None:
        if self.delay:
            threading.Event().wait(self.delay)
        if not self._let_go.is_set():
            self.hanging += 1
            self._let_go.wait(30)
