"""A service that answers as a test has written it down."""

from __future__ import annotations

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Scripted:
    """Gives each request the next answer, the last one again and again."""

    def __init__(self) -> None:
        self.answers = deque[tuple[int, dict[str, str], bytes]]()
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        """Method, path, headers in lower case, and body."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.requests.append((self.command, self.path, headers, body))
                last = len(service.answers) == 1
                status, more, text = service.answers[0] if last else service.answers.popleft()
                if not status:
                    return  # the connection ends without a word
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, told: Any, status: int = 200, **headers: str) -> None:
        """Answer with JSON, or with text."""
        text = told if isinstance(told, str) else json.dumps(told)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, named, text.encode()))

    def refuse(self, status: int, code: str, **headers: str) -> None:
        """Answer with a problem."""
        self.answer({"code": code, "detail": f"the detail of {code}"}, status, **headers)

    def break_off(self) -> None:
        """Take a request, and close the connection without an answer."""
        self.answers.append((0, {}, b""))

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
