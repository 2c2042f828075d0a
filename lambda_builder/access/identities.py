"""What is known of identities once a version of ``AUTH_FILE`` was read, and of whoever shows
something: which of them it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lambda_builder.access.auth_file import (
    AuthFile,
    Hmac,
    Identity,
    Oidc,
    Source,
    read_small,
)
from lambda_builder.access.fetching import fetch_keys, read_keys
from lambda_builder.access.issuers import IssuerKeys, with_id
from lambda_builder.access.oidc import OidcProof
from lambda_builder.access.policies import Caller, Nonce, Policies
from lambda_builder.access.proofs import Denial, NotProven, Proof
from lambda_builder.access.rules import ANONYMOUS
from lambda_builder.access.sessions import Sessions
from lambda_builder.access.shown import Shown
from lambda_builder.access.signatures import GithubProof, Nonces, WebhookProof
from lambda_builder.access.tokens import TokenProof

_WEIGHT = (
    Denial.MISSING,
    Denial.UNKNOWN,
    Denial.SIGNATURE,
    Denial.WINDOW,
    Denial.CLAIMS,
    Denial.REPLAYED,
    Denial.ISSUER,
)
"""Of several reasons the last of these is told: it came nearest, or may be none tomorrow."""


@dataclass(frozen=True, slots=True)
class Known:
    """The identities and policies of one version of the file; thread-safe."""

    proofs: Mapping[str, Proof]
    """By the name of the identity."""
    has_anonymous: bool
    policies: Policies
    issuers: Mapping[Source, IssuerKeys]
    sessions: Sessions

    def caller(self, shown: Shown) -> Caller:
        """Return who shows this; raises ``NotProven`` where that is nobody."""
        if shown.is_nothing:
            if not self.has_anonymous:
                raise NotProven(Denial.MISSING)
            allowed = self.policies.allowed((ANONYMOUS,))
            return Caller((ANONYMOUS,), allowed, allowed)
        has_session = shown.session is not None
        if shown.session is not None:
            token = self.sessions.token_of(shown.session)
            if token is None:
                raise NotProven(Denial.SESSION)
            shown = replace(shown, token=token, session=None)
        names: list[str] = []
        nonces: list[Nonce] = []
        denials = [Denial.UNKNOWN]
        for name, proof in self.proofs.items():
            try:
                nonce = proof.check(shown)
            except NotProven as not_proven:
                denials.append(not_proven.denial)
                continue
            names.append(name)
            if nonce is not None:
                nonces.append(nonce)
        if not names:
            raise NotProven(max(denials, key=_WEIGHT.index))
        unsigned = tuple(name for name in names if not self.proofs[name].is_of_body)
        return Caller(
            tuple(names),
            self.policies.allowed(tuple(names)),
            self.policies.allowed(unsigned),
            only_signed=not unsigned,
            has_session=has_session,
            nonces=tuple(nonces),
        )


class Reader:
    """Makes what is known out of versions of the file; not thread-safe.

    What was used of signatures, and the keys of issuers, outlive the versions.
    """

    def __init__(self, nonces: Nonces, waiting: threading.Semaphore) -> None:
        """``waiting`` bounds how many requests wait for the keys of issuers."""
        self._nonces = nonces
        self._waiting = waiting
        self._issuers: dict[Source, IssuerKeys] = {}

    def known(self, content: AuthFile) -> Known:
        """Return what a version tells; raises ``ValueError`` with all problems, one a line."""
        problems: list[str] = []
        proofs: dict[str, Proof] = {}
        for number, identity in enumerate(content.identities):
            try:
                if (proof := self._proof(identity)) is not None:
                    proofs[identity.name] = proof
            except (OSError, ValueError) as error:
                problems.append(f"identities.{number} ({identity.name}): {error}")
        if problems:
            raise ValueError("\n".join(problems))
        sources = [each.oidc.source for each in content.identities if each.oidc is not None]
        self._issuers = {s: self._issuers[s] for s in sources if s in self._issuers}
        names = [identity.name for identity in content.identities]
        sessions = Sessions(h for each in content.identities for h in each.token_sha256 or ())
        return Known(
            proofs, ANONYMOUS in names, Policies(content.policies), self._issuers, sessions
        )

    def _proof(self, identity: Identity) -> Proof | None:
        if identity.token_sha256 is not None:
            return TokenProof(identity.token_sha256)
        if identity.hmac is not None:
            return self._signature(identity.name, identity.hmac)
        return None if identity.oidc is None else self._oidc(identity.oidc)

    def _signature(self, name: str, hmac: Hmac) -> Proof:
        lines = map(str.strip, read_small(hmac.secret_file).splitlines())
        secrets = [line for line in lines if line]
        if not secrets:
            raise ValueError(f"{hmac.secret_file} has no secret in it")
        if hmac.scheme == "github":
            return GithubProof(secrets)
        return WebhookProof(
            name,
            secrets,
            tolerance_seconds=hmac.tolerance_seconds,
            is_used=self._nonces.is_used,
        )

    def _oidc(self, oidc: Oidc) -> Proof:
        if oidc.jwks_file is not None:
            try:
                keys = read_keys(json.loads(read_small(oidc.jwks_file)))
            except ValueError as error:
                raise ValueError(f"{oidc.jwks_file} has no keys: {error}") from error
            if not keys:
                raise ValueError(f"{oidc.jwks_file} has no key that signatures can be checked with")
            return OidcProof(oidc, partial(with_id, keys))
        for path in (oidc.ca_file, oidc.token_file):
            if path is not None:
                read_small(path)
        issuer = self._issuers.get(oidc.source)
        if issuer is None:
            issuer = self._issuers[oidc.source] = IssuerKeys(
                oidc.issuer, partial(fetch_keys, oidc.source), waiting=self._waiting
            )
        return OidcProof(oidc, issuer.find)


def files_of(content: AuthFile) -> Iterator[Path]:
    """Return the files that a version names, but for tokens, which are read when they are sent."""
    for identity in content.identities:
        if identity.hmac is not None:
            yield identity.hmac.secret_file
        if identity.oidc is not None:
            yield from filter(None, (identity.oidc.jwks_file, identity.oidc.ca_file))
