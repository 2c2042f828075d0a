"""Resource quantities as Kubernetes writes them: ``500m``, ``2Gi``, ``1e3``."""

from __future__ import annotations

import re
from decimal import Decimal

_quantity = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,3}))?"
).fullmatch

REGEX_WORDS = (
    r"quantities must match the regular expression "
    r"'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)

_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def is_quantity(value: object) -> bool:
    """Whether the API server can read it; plain numbers are taken too."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (
        isinstance(value, str) and _quantity(value) is not None
    )


def is_negative(value: object) -> bool:
    """Whether a quantity is below zero."""
    return str(value).startswith("-") and _amount(value) < 0


def compare(one: object, other: object) -> int:
    """Negative, zero or positive as ``one`` is less than, equal to or more than ``other``."""
    if one == other:
        return 0
    left, right = _amount(one), _amount(other)
    return (left > right) - (left < right)


def _amount(value: object) -> Decimal:
    match = _quantity(str(value))
    if match is None:
        return Decimal(0)
    number, suffix, exponent = match.groups()
    if suffix in _BINARY:
        return Decimal(number) * (1 << _BINARY[suffix])
    power = int(exponent) if exponent else _DECIMAL.get(suffix or "", 0)
    return Decimal(number).scaleb(power)
