"""What a request shows of who sent it. Reads the WSGI environment (PEP 3333); judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.http import parse_cookie

SESSION_COOKIE = "lambda-builder-session"
SESSION_SECONDS = 12 * 60 * 60
"""How long a browser stays signed in."""
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Shown:
    """Credentials as they were sent."""

    token: str | None
    """The bearer token (RFC 6750)."""
    hub_signature: str | None
    webhook: Mapping[str, str]
    """The headers of Standard Webhooks, if all are there."""
    session: str | None
    """The cookie of a browser's session, where there is no ``Authorization``."""
    has_other: bool
    """Whether there are credentials of another kind."""
    body: Callable[[], bytes]
    """Returns what signatures are of; raises ``Refused``."""

    @property
    def is_nothing(self) -> bool:
        """Whether there are no credentials."""
        return not (
            self.token or self.session or self.hub_signature or self.webhook or self.has_other
        )


def shown_in(environ: Mapping[str, Any], body: Callable[[], bytes] | None) -> Shown:
    """Return what a request shows; signatures only where there is a ``body`` to be signed.

    A session only where there is none: browsers send no events.
    """
    authorization = environ.get("HTTP_AUTHORIZATION", "").strip()
    is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
    token = authorization[len(_BEARER) :].strip() if is_bearer else None
    webhook: dict[str, str] = {}
    hub_signature = None
    if body is not None:
        hub_signature = environ.get("HTTP_X_HUB_SIGNATURE_256")
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        found = {name: environ.get("HTTP_" + name.upper().replace("-", "_")) for name in names}
        webhook = {name: value for name, value in found.items() if value}
        webhook = webhook if "webhook-signature" in webhook else {}
    return Shown(
        token=token or None,
        session=None if authorization or body is not None else _session(environ),
        hub_signature=hub_signature or None,
        webhook=webhook,
        has_other=bool(authorization) and not token,
        body=body or bytes,
    )


def _session(environ: Mapping[str, Any]) -> str | None:
    cookies = environ.get("HTTP_COOKIE")
    return (parse_cookie(cookies).get(SESSION_COOKIE) or None) if cookies else None
