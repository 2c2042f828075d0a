"""An OpenID Connect issuer over real HTTP, as good or bad as a test wants it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

AUDIENCE = "lambda-builder"
SUBJECT = "system:serviceaccount:builds:trigger"


class Issuer:
    """Signs tokens with its newest key, and tells those that it has not withdrawn."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: list[Any] = []
        self.silent = threading.Event()
        """While it is set, nobody is answered."""
        self.ended = threading.Event()
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []
        """Paths, and what was shown."""
        self.told: dict[str, Any] = {}
        """Answers other than the right ones, by path."""
        self.rotate()

    def rotate(self, *, keep: bool = False, kind: str = "RSA") -> None:
        """Sign with a new key from now on; the others are withdrawn unless told to ``keep``."""
        parameters: Any = {"kid": f"key-{time.monotonic_ns()}", "use": "sig"}
        made: Any = (
            RSAKey.generate_key(2048, parameters)
            if kind == "RSA"
            else ECKey.generate_key("P-256", parameters)
        )
        self.keys = [*(self.keys if keep else []), made]

    def token(self, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        """Return a token that is good but for what the arguments say; None leaves a claim out."""
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": SUBJECT,
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            **claims,
        }
        used = key or self.keys[-1]
        algorithm = "RS256" if used.key_type == "RSA" else "ES256"
        head = {"alg": algorithm, "kid": used.kid, **(header or {})}
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(
            {name: value for name, value in head.items() if value is not None},
            kept,
            used,
            algorithms=[head["alg"]],
        )

    def answer(self, path: str) -> Any:
        if path in self.told:
            return self.told[path]
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            return {"keys": [key.as_dict(private=False) for key in self.keys]}
        return None


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Serve an issuer on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append((self.path, self.headers.get("Authorization")))
            while issuer.silent.is_set() and not issuer.ended.wait(0.01):
                pass
            found = issuer.answer(self.path)
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(404 if found is None else issuer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        issuer.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
