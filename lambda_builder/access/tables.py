"""A table of bounded size that forgets only what has become meaningless."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, TypeVar

V = TypeVar("V")

_LOOKED_AT = 2
"""Entries looked at whenever one is added: more than one, so that the idle ones get fewer."""


class IdleTable(Generic[V]):
    """Values by name, at most ``maximum``; not thread-safe.

    A value leaves when it is idle, that is when it says no more than none would, and for nothing
    else: no number of other names can push one out. Names are kept as digests, so that an entry
    takes the same memory however long its name is.
    """

    def __init__(self, maximum: int, is_idle: Callable[[V, float], bool]) -> None:
        """``is_idle`` judges a value at a time, in seconds on the caller's clock."""
        self._maximum = maximum
        self._is_idle = is_idle
        self._values: OrderedDict[bytes, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def is_full(self) -> bool:
        """Whether there was no room for another name when one was last looked for."""
        return len(self._values) >= self._maximum

    def get(self, name: str) -> V | None:
        """Return the value of a name, if there is one."""
        return self._values.get(_digest(name))

    def put(self, name: str, value: V, now: float) -> bool:
        """Keep a value; False, and nothing is kept, where there is no room for another name."""
        key = _digest(name)
        if key not in self._values:
            self._forget_idle(now)
            if len(self._values) >= self._maximum:
                return False
        self._values[key] = value
        return True

    def _forget_idle(self, now: float) -> None:
        for _ in range(min(_LOOKED_AT, len(self._values))):
            key, value = self._values.popitem(last=False)
            if not self._is_idle(value, now):
                self._values[key] = value  # at the end: the next look is at others


def _digest(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
