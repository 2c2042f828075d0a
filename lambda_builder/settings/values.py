"""Kinds of values that settings have, and what of them may be shown."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

_PASSWORD = re.compile(r"://[^/@\s]*@")
_QUERY = re.compile(r"(?<=://)([^?]*)\?.+")


class Rate(NamedTuple):
    """How many events may come: so many a second, and so many at once after a pause."""

    per_second: float
    burst: int

    @property
    def seconds(self) -> float:
        """How long it takes until so many at once may come again."""
        return self.burst / self.per_second

    def __str__(self) -> str:
        return f"{self.per_second:g}/{self.burst}"


Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
CommaList = Annotated[tuple[str, ...], NoDecode]
_OBJECT_NAME = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
ObjectName = Annotated[str, Field(max_length=253, pattern=_OBJECT_NAME)]
"""Empty, or the name of an object in Kubernetes: a DNS-1123 subdomain."""
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)/([1-9][0-9]{0,5})")


def without_blanks(value: str) -> str:
    if any(character.isspace() for character in value):
        raise ValueError("must not have blanks in it")
    return value


Word = Annotated[str, AfterValidator(without_blanks)]


def _rate(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _RATE.fullmatch(value)
    if not found or not float(found[1]):
        raise ValueError("must be events per second and a burst, like 10/20")
    return Rate(float(found[1]), int(found[2]))


OptionalRate = Annotated[Rate | None, NoDecode, BeforeValidator(_rate)]


def network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError as error:
        raise ValueError(f"{value!r} is no address range like 10.0.0.0/8") from error


def _secret_name(value: str) -> str:
    if not re.fullmatch(_OBJECT_NAME, _PLACEHOLDER.sub("x", value)):
        raise ValueError("must be the name of a Secret; placeholders like ${third_party_id_name}")
    return value


SecretName = Annotated[str, Field(max_length=253), AfterValidator(_secret_name)]
"""Empty, or the name of a Secret with placeholders, one for each tenant."""


def without_secrets(text: str) -> str:
    """Return a URL without what it may have of user, password and query; other text as it is."""
    return _QUERY.sub(r"\1?***", _PASSWORD.sub("://***@", text))


_OVERRIDES = 'must be JSON like {"extensions": {"name": "value"}}'


def parse_ce_overrides(text: str) -> dict[str, str]:
    """Read Knative's ``K_CE_OVERRIDES``: ``{"extensions": {name: value}}``.

    Raises ``ValueError`` for anything else; empty is no overrides.
    """
    if not text.strip():
        return {}
    try:
        overrides = json.loads(text)
    except ValueError as error:
        raise ValueError(_OVERRIDES) from error
    extensions = overrides.get("extensions") or {} if isinstance(overrides, dict) else None
    if not isinstance(extensions, dict):
        raise ValueError(_OVERRIDES)
    return {str(name).lower(): str(value) for name, value in extensions.items()}
