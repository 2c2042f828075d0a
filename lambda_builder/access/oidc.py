"""Tokens of OpenID Connect issuers, such as Knative's and Kubernetes' own."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError
from joserfc.jwk import Key

from lambda_builder.access.auth_file import Oidc
from lambda_builder.access.proofs import Denial, NotProven
from lambda_builder.access.shown import Shown
from lambda_builder.tenants import glob

_LONGEST = 16_384
"""Characters of a token; one of Kubernetes has some 1,200."""
_LEEWAY_SECONDS = 30
"""How far the issuer's clock may be off."""
_MOST_TRIED = 10
"""Keys that are tried for a token that does not say by which it is signed."""
_TIMES = frozenset({"exp", "nbf", "iat"})


class OidcProof:
    """A bearer token (RFC 7519) of one issuer for one audience; thread-safe."""

    is_of_body = False

    def __init__(self, oidc: Oidc, find: Callable[[str | None], Sequence[Key]]) -> None:
        """``find`` returns the issuer's keys of an id; raises ``NotProven``."""
        self._issuer = oidc.issuer
        self._algorithms = tuple(oidc.algorithms)
        self._find = find
        self._subject = re.compile(glob(oidc.subject), re.DOTALL)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": oidc.issuer},
            aud={"essential": True, "value": oidc.audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    def check(self, shown: Shown) -> None:
        """Raise ``NotProven`` unless the bearer token is one of those meant.

        ``MISSING`` where it is no token, or of another issuer.
        """
        header = self._header_of(shown.token)
        if header.get("alg") not in self._algorithms:
            raise NotProven(Denial.SIGNATURE)
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise NotProven(Denial.UNKNOWN)
        claims = self._verified(str(shown.token), self._find(kid))
        try:
            self._claims.validate(claims)
        except JoseError as error:
            raise NotProven(_denial_of(error)) from None
        if not self._subject.fullmatch(claims["sub"]):
            raise NotProven(Denial.CLAIMS)

    def _header_of(self, token: str | None) -> dict[str, Any]:
        """Return what a token of the issuer says of its signature; nothing of it is proven yet."""
        if token is None or token.count(".") != 2 or len(token) > _LONGEST:
            raise NotProven(Denial.MISSING)
        header, claims = map(_object_in, token.split(".")[:2])
        if claims.get("iss") != self._issuer:
            raise NotProven(Denial.MISSING)
        return header

    def _verified(self, token: str, keys: Sequence[Key]) -> dict[str, Any]:
        for key in keys[:_MOST_TRIED]:
            try:
                return jwt.decode(token, key, algorithms=self._algorithms).claims
            except (JoseError, ValueError):
                continue
        raise NotProven(Denial.SIGNATURE if keys else Denial.UNKNOWN)


def _object_in(segment: str) -> dict[str, Any]:
    """Read a JSON object in base64; an empty one where there is none."""
    try:
        found = json.loads(base64.urlsafe_b64decode(segment + "=="))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _denial_of(error: JoseError) -> Denial:
    is_of_time = isinstance(error, ExpiredTokenError) or (
        isinstance(error, InvalidClaimError) and error.claim in _TIMES
    )
    return Denial.WINDOW if is_of_time else Denial.CLAIMS
