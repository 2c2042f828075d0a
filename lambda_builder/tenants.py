"""Tenants, which are third parties, as one may be given them: by name or by pattern. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ANY = "*"
"""The pattern of every tenant."""


def glob(pattern: str) -> str:
    """Return a regular expression for ``pattern``, in which ``*`` stands for any text."""
    return ".*".join(map(re.escape, pattern.split("*")))


class Tenants:
    """Some tenants, or all. Immutable, and as quick with many patterns as with one."""

    __slots__ = ("_globs", "_names", "are_all", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        """In a pattern ``*`` stands for any text, also for none; all else for itself."""
        self.patterns = tuple(dict.fromkeys(patterns))
        self.are_all = ANY in self.patterns
        self._names = frozenset(each for each in self.patterns if "*" not in each)
        globs = "|".join(glob(each) for each in self.patterns if "*" in each)
        self._globs = re.compile(globs, re.DOTALL) if globs else None

    def __contains__(self, tenant: str) -> bool:
        if self.are_all or tenant in self._names:
            return True
        return self._globs is not None and self._globs.fullmatch(tenant) is not None

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __repr__(self) -> str:
        return f"Tenants({self.patterns})"


ALL_TENANTS = Tenants((ANY,))
NO_TENANTS = Tenants(())


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose builds somebody may read, and whose he may cancel and retry."""

    read: Tenants
    steer: Tenants


EVERYTHING = Reach(ALL_TENANTS, ALL_TENANTS)
