"""What an error of the database means."""

from __future__ import annotations

import enum

import psycopg

from lambda_builder.journal.postgres.server import Hangs


class Meaning(enum.Enum):
    """What to do about an error."""

    RETRY = enum.auto()
    """The same again: a deadlock, or a serialization failure."""
    LOST = enum.auto()
    """The connection is gone; what it was asked last may have been done."""
    HANGS = enum.auto()
    """As ``LOST``, and the next one would wait as long."""
    UNAVAILABLE = enum.auto()
    """Nothing was done, and nothing can be for now."""
    REJECTED = enum.auto()
    """The values are to blame."""


_RETRY = ("40001", "40P01")
_TO_BLAME = ("22", "23", "54")
"""Classes: data exceptions, constraints, program limits."""
_NAMES = {
    "53100": "the database's disk is full",
    "53300": "too many connections to the database",
    "57014": "the database takes too long",
    "55P03": "the database takes too long: locked",
    "25006": "the database is read-only",
}


def meaning(error: Exception, connection: psycopg.Connection | None) -> Meaning:
    """Return what ``error`` means, given the connection it was met on (None: while connecting)."""
    if isinstance(error, OSError) or connection is None:
        return Meaning.UNAVAILABLE
    if isinstance(error, Hangs):
        return Meaning.HANGS
    if connection.closed:
        return Meaning.LOST
    state = getattr(error, "sqlstate", None) or ""
    if state in _RETRY:
        return Meaning.RETRY
    if not isinstance(error, psycopg.Error) or state[:2] in _TO_BLAME or not state:
        return Meaning.REJECTED
    return Meaning.UNAVAILABLE


def describe(error: Exception) -> str:
    """Return the cause in a few words; never with a password."""
    if isinstance(error, OSError):
        return f"the password cannot be read: {error.strerror or error}"
    state = getattr(error, "sqlstate", None) or ""
    if state in _NAMES:
        return _NAMES[state]
    return " ".join(str(error).split()) or type(error).__name__
