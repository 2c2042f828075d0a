"""Forms of an id that name a tenant's own repository or Secret: no two ids share one. Pure.

An id that fits is its own form. Any other gets digits of its SHA-256, and an id that ends as if it
had them counts among those, so that nobody can take a form by choosing it for his id.
"""

from __future__ import annotations

import hashlib
import re

from lambda_builder.kube.labels import safe

_LONGEST = 50
_DIGITS = 10
_ENDS_IN_DIGITS = re.compile(rf"-[0-9a-f]{{{_DIGITS}}}$")
# A path component of a repository: OCI distribution spec 1.1, "Pulling manifests".
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_SEPARATORS = re.compile(r"[._-]{2,}")
_NOT_DNS = re.compile(r"[^a-z0-9]+")


def repository(value: str) -> str:
    """Return ``value`` as a path component of a repository, of at most 61 characters.

    Itself where it is one of at most 50 that does not end in ``-`` and 10 hex digits; else its
    lower-case safe form, ``-``, and the first 10 hex digits of its SHA-256.
    """
    if _fits(value, _COMPONENT):
        return value
    return f"{_SEPARATORS.sub('-', safe(value).lower())}-{_digits(value)}"


def object_name(value: str) -> str:
    """Return ``value`` as a DNS-1123 label of at most 61 characters, made like ``repository``."""
    if _fits(value, _LABEL):
        return value
    return f"{_NOT_DNS.sub('-', safe(value).lower())}-{_digits(value)}"


def _fits(value: str, pattern: re.Pattern[str]) -> bool:
    return (
        len(value) <= _LONGEST
        and pattern.fullmatch(value) is not None
        and _ENDS_IN_DIGITS.search(value) is None
    )


def _digits(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
