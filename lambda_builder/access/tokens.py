"""Bearer tokens, of which only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from lambda_builder.access.proofs import Denial, NotProven
from lambda_builder.access.shown import Shown

LEAST_TOKEN = 20
"""Characters of a token that nobody can guess: over 100 bits in letters and digits."""


def hash_of(token: str) -> str:
    """Return the hash of a token, in hex: SHA-256, which is enough for what nobody can guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class TokenProof:
    """One of some bearer tokens (RFC 6750); immutable."""

    is_of_body = False

    def __init__(self, hashes: Sequence[str]) -> None:
        """SHA-256 in lower-case hex."""
        self._hashes = tuple(hashes)

    def check(self, shown: Shown) -> None:
        """Compare with each hash in constant time; raises ``NotProven``."""
        if shown.token is None:
            raise NotProven(Denial.MISSING)
        own = hash_of(shown.token)
        # All of them, in a time that tells nothing of which was how near.
        if not any([hmac.compare_digest(own, each) for each in self._hashes]):  # noqa: C419
            raise NotProven(Denial.UNKNOWN)
