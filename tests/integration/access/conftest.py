"""Access, asked as the web layer asks it; the files it reads are real."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lambda_builder.access.checks import Access
from lambda_builder.access.directory import Directory
from lambda_builder.access.policies import Caller
from lambda_builder.access.rules import READ, Rule
from lambda_builder.errors import Refused
from lambda_builder.telemetry.metrics import Metrics
from tests.issuers import AUDIENCE, Issuer, running_issuer


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Door:
    """An ``Access`` over a file, and what came of asking it."""

    def __init__(self, path: Path, content: Any, **settings: Any) -> None:
        self.path = path
        self.write(content)
        self.directory = Directory(path, waiting=settings.pop("waiting", 2))
        self.metrics = Metrics()
        chosen = {"read_only": False, "trusted_proxies": (), **settings}
        self.access = Access(self.directory, metrics=self.metrics, **chosen)

    def write(self, content: Any) -> None:
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        self.path.write_text(text)

    def ask(self, rule: Rule = READ, *, body: bytes | None = None, **headers: str) -> Caller:
        """Ask with these headers, ``_`` for ``-``; raises ``Refused``."""
        environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        environ = {"REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "builder.example", **environ}
        if "HTTP_PEER" in environ:
            environ["REMOTE_ADDR"] = environ.pop("HTTP_PEER")
        return self.access.check(rule, environ, None if body is None else lambda: body)

    def code(self, rule: Rule = READ, **shown: Any) -> str:
        """Return the code that asking is refused with, or the name of the caller."""
        try:
            return self.ask(rule, **shown).name
        except Refused as refused:
            return refused.code.value

    def denied(self, reason: str) -> float:
        return self.metrics.auth_denied.labels(reason)._value.get()


@pytest.fixture
def open_door(tmp_path: Path) -> Callable[..., Door]:
    def make(content: Any, **settings: Any) -> Door:
        return Door(tmp_path / "auth.yaml", content, **settings)

    return make


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def of_issuer(open_door: Callable[..., Door], issuer: Issuer) -> Callable[..., Door]:
    """Know tokens of the issuer, and one token by its hash."""

    def make(waiting: int = 2, **oidc: Any) -> Door:
        known = {
            "issuer": issuer.url,
            "audience": AUDIENCE,
            "subject": "system:serviceaccount:builds:*",
            **oidc,
        }
        return open_door(
            {
                "identities": [
                    {"name": "broker", "oidc": known},
                    {"name": "ci", "token_sha256": [hash_of("ci-token")]},
                ],
                "policies": [
                    {"identities": ["broker", "ci"], "actions": ["read"], "tenants": ["*"]}
                ],
            },
            waiting=waiting,
        )

    return make
