"""Access: whoever calls a route is asked for once, here, by the rule of the route."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from lambda_builder.access.failures import FailedTries
from lambda_builder.access.origins import Proxies, is_from_another_site
from lambda_builder.access.policies import EVERYBODY, NOBODY, Caller
from lambda_builder.access.proofs import Denial, NotProven
from lambda_builder.access.rules import Action, Rule
from lambda_builder.access.shown import Shown, shown_in
from lambda_builder.builds import BuildRequest, CommandRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.telemetry.metrics import Metrics

if TYPE_CHECKING:  # it takes a library for tokens, which not everybody needs
    from lambda_builder.access.directory import Directory

_Event = BuildRequest | CommandRequest
_Environ = Mapping[str, Any]

_DOES: Mapping[Action, str] = {
    Action.SEND: "send events",
    Action.READ: "read builds",
    Action.STEER: "cancel or retry builds",
    Action.METRICS: "read metrics",
}
_TEXTS: Mapping[Denial, str] = {
    Denial.MISSING: "credentials are required",
    Denial.UNKNOWN: "these credentials are not known",
    Denial.SIGNATURE: "the signature is wrong",
    Denial.WINDOW: "the credentials are not valid at this time",
    Denial.REPLAYED: "the signature was used before",
    Denial.SESSION: "the session has ended, please sign in again",
    Denial.CLAIMS: "the token is for another service, or of somebody who is not known",
}


class Access:
    """Decides who may do what; thread-safe. Without a directory everybody may do everything.

    Every refusal is counted.
    """

    def __init__(
        self,
        directory: Directory | None,
        *,
        read_only: bool,
        trusted_proxies: Sequence[str],
        metrics: Metrics,
    ) -> None:
        self._directory = directory
        self._read_only = read_only
        self._proxies = Proxies(trusted_proxies)
        self._denied = metrics.auth_denied
        self._failed_tries = FailedTries()

    def check(
        self, rule: Rule, environ: _Environ, body: Callable[[], bytes] | None = None
    ) -> Caller:
        """Return who sent the request of this WSGI environment, if it may call such a route.

        ``body`` returns what may be signed, where signatures count. Raises ``Refused``:
        ``unauthenticated``, ``too_many_failures``, ``issuer_unavailable``, ``forbidden``,
        ``read_only``, and what ``body`` raises.
        """
        caller = self.known(rule, environ, body)
        self.admit(caller, rule, environ)
        return caller

    def known(
        self, rule: Rule, environ: _Environ, body: Callable[[], bytes] | None = None
    ) -> Caller:
        """Return who sent a request, whatever it may do; the first half of ``check``."""
        if self._directory is None:
            return EVERYBODY
        if rule.action is None:
            return NOBODY
        return self._known(self._directory, environ, body)

    def admit(self, caller: Caller, rule: Rule, environ: _Environ) -> None:
        """Refuse a caller that may not call such a route; the second half of ``check``."""
        if rule.action is None:
            return
        steers = rule.action is Action.STEER
        if steers:
            self.refuse_other_sites(environ)
        if caller is not EVERYBODY:
            self._may_call(caller, rule, rule.action)
        if steers:
            self._refuse_if_read_only()

    def refuse_other_sites(self, environ: _Environ) -> None:
        """Raise ``Refused`` (``forbidden``) where a page of another site sent the request."""
        if is_from_another_site(environ, self._proxies):
            raise self._forbidden(Denial.ORIGIN, "a page of another site may not do that here")

    @property
    def asks_nobody(self) -> bool:
        """Whether everybody may do everything, and nobody has to sign in."""
        return self._directory is None

    def sign_in(self, token: str, environ: _Environ) -> str:
        """Return the cookie of a new session for the token of an identity.

        Raises ``Refused``: ``forbidden`` for a page of another site, which could sign somebody in
        as somebody else, ``unauthenticated`` and ``too_many_failures``.
        """
        self.refuse_other_sites(environ)
        shown = Shown(token or None, None, {}, None, has_other=False, body=bytes)
        if shown.is_nothing or self._directory is None:
            raise self._unauthenticated(Denial.MISSING, shown, environ)
        cookie = self._directory.known.sessions.begin(token)
        if cookie is None:
            raise self._unauthenticated(Denial.UNKNOWN, shown, environ)
        return cookie

    def is_secure(self, environ: _Environ) -> bool:
        """Return whether the client's connection has TLS, as far as is known."""
        return self._proxies.is_secure(environ)

    def address_of(self, environ: _Environ) -> str:
        """Return where a request comes from, as trusted proxies tell it."""
        return self._proxies.address_of(environ)

    def permit(self, caller: Caller, mode: str, events: tuple[_Event, ...]) -> tuple[_Event, ...]:
        """Return the events of one delivery, if the caller may send all of them.

        ``mode`` is the content mode. Cancel and retry events come back with whose builds they can
        mean. Raises ``Refused``: ``unsigned_attributes``, ``forbidden`` and ``read_only``.
        """
        if caller is EVERYBODY and not self._read_only:
            return events
        if caller.only_signed and mode == "binary":
            self._denied.labels(Denial.UNSIGNED.value).inc()
            raise Refused(
                RefusalCode.UNSIGNED_ATTRIBUTES,
                "the signature covers the body alone, and in binary mode the attributes are "
                "headers: send structured or batch mode",
            )
        allowed = caller.may(Action.SEND, unsigned=mode == "binary")
        permitted: list[_Event] = []
        for event in events:
            tenant = event.third_party_id
            if tenant is not None and tenant not in allowed:
                raise self._forbidden(
                    Denial.FORBIDDEN, f"{caller.name} may not send events of {tenant[:100]!r}"
                )
            if isinstance(event, CommandRequest):
                self._refuse_if_read_only()
                if not allowed.are_all:
                    event = replace(event, tenants=allowed.patterns)
            permitted.append(event)
        return tuple(permitted)

    def accepted(self, caller: Caller) -> None:
        """Note that what the caller sent was accepted: its signature was used."""
        if caller.nonces and self._directory is not None:
            self._directory.nonces.use(caller.nonces)

    # -- refusals ------------------------------------------------------------------------------

    def _known(
        self, directory: Directory, environ: _Environ, body: Callable[[], bytes] | None
    ) -> Caller:
        shown = shown_in(environ, body)
        try:
            return directory.known.caller(shown)
        except NotProven as not_proven:
            raise self._unauthenticated(not_proven.denial, shown, environ) from None

    def _unauthenticated(self, denial: Denial, shown: Shown, environ: _Environ) -> Refused:
        self._denied.labels(denial.value).inc()
        if denial is Denial.ISSUER:
            return Refused(
                RefusalCode.ISSUER_UNAVAILABLE,
                "the issuer's keys cannot be had, so the token cannot be checked, please retry",
            )
        if not shown.is_nothing:
            address = self._proxies.address_of(environ)
            wait = self._failed_tries.note(address)
            if wait > 0:
                self._denied.labels(Denial.FAILURES.value).inc()
                return Refused(
                    RefusalCode.TOO_MANY_FAILURES,
                    "too many failed tries from this address, please retry later",
                    retry_after=wait,
                )
            structlog.get_logger().warning("access_denied", reason=denial.value, address=address)
        return Refused(RefusalCode.UNAUTHENTICATED, _TEXTS[denial])

    def _may_call(self, caller: Caller, rule: Rule, action: Action) -> None:
        tenants = caller.may(action)
        if tenants.are_all if rule.of_all else tenants:
            return
        if caller.is_anonymous:
            self._denied.labels(Denial.MISSING.value).inc()
            raise Refused(RefusalCode.UNAUTHENTICATED, _TEXTS[Denial.MISSING])
        of = " of every tenant" if rule.of_all else ""
        raise self._forbidden(Denial.FORBIDDEN, f"no policy lets {caller.name} {_DOES[action]}{of}")

    def _forbidden(self, denial: Denial, detail: str) -> Refused:
        self._denied.labels(denial.value).inc()
        structlog.get_logger().warning("access_denied", reason=denial.value, detail=detail)
        return Refused(RefusalCode.FORBIDDEN, detail)

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            self._denied.labels(Denial.READ_ONLY.value).inc()
            raise Refused(RefusalCode.READ_ONLY, "nobody may cancel or retry builds here")
