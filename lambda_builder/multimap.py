"""Multimap: several names under one key; nearly every key has one, which costs no container."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
N = TypeVar("N", str, str | bytes)


class Multimap(Generic[K, N]):
    """Names by key, in the order they were added; not thread-safe."""

    def __init__(self) -> None:
        self._names: dict[K, N | dict[N, None]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def of(self, key: K) -> tuple[N, ...]:
        """Return the names under ``key``."""
        names = self._names.get(key)
        if isinstance(names, dict):
            return tuple(names)
        return () if names is None else (names,)

    def add(self, key: K, name: N) -> None:
        """Put ``name`` under ``key``, once."""
        names = self._names.setdefault(key, name)
        if isinstance(names, dict):
            names[name] = None
        elif names != name:
            self._names[key] = {names: None, name: None}

    def remove(self, key: K, name: N) -> None:
        """Take ``name`` away from ``key``, if it is there."""
        names = self._names.get(key)
        if isinstance(names, dict):
            names.pop(name, None)
        if not names or names == name:
            self._names.pop(key, None)
