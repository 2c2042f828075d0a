"""What an identity can be known by, and how trying it may end."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from lambda_builder.access.policies import Nonce
from lambda_builder.access.shown import Shown


class Denial(StrEnum):
    """Why a request was denied: a closed set, so that it can be a metric label."""

    MISSING = "missing"
    """No credentials."""
    UNKNOWN = "unknown"
    """Credentials of nobody."""
    SIGNATURE = "signature"
    """A signature that is wrong."""
    WINDOW = "window"
    """Signed too long ago, or in the future; a token that is not valid now."""
    REPLAYED = "replayed"
    """Signed properly, but used before."""
    CLAIMS = "claims"
    """A token that is for others, or of somebody else."""
    SESSION = "session"
    """A browser's session that has ended."""
    ISSUER = "issuer"
    """The issuer's keys cannot be had."""
    UNSIGNED = "unsigned"
    """Attributes in headers, which the signature does not cover."""
    FORBIDDEN = "forbidden"
    ORIGIN = "origin"
    """A page of another site."""
    READ_ONLY = "read_only"
    FAILURES = "failures"
    """Too many failed tries."""


class NotProven(Exception):
    """The credentials that were shown are not those of the identity."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.value)
        self.denial = denial


class Proof(Protocol):
    """What one identity is known by; thread-safe."""

    is_of_body: bool
    """Whether it covers the body and nothing else."""

    def check(self, shown: Shown) -> Nonce | None:
        """Return what of it may not be used again, if anything; raises ``NotProven``.

        ``NotProven`` of ``MISSING`` where nothing of its kind was shown.
        """
