"""Ordered: rows by their places, kept in order while they come and go.

In chunks, so that one of a hundred thousand is put in or taken out without moving all the others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Generic, TypeVar

from lambda_builder.selection import Place

Row = TypeVar("Row")

_LONGEST = 1000


class Ordered(Generic[Row]):
    """One row for each place; not thread-safe."""

    def __init__(self, place: Callable[[Row], Place]) -> None:
        self._place = place
        self._chunks: list[list[Row]] = [[]]
        """None but an only one is empty."""

    def put(self, row: Row) -> None:
        """Put ``row`` at its place, instead of one that is there."""
        place = self._place(row)
        number, at = self._find(place)
        chunk = self._chunks[number]
        if self._is_at(place, chunk, at):
            chunk[at] = row
            return
        chunk.insert(at, row)
        if len(chunk) > _LONGEST:
            half = _LONGEST // 2
            self._chunks[number : number + 1] = [chunk[:half], chunk[half:]]

    def remove(self, place: Place) -> None:
        """Take away the row at that place, if there is one."""
        number, at = self._find(place)
        chunk = self._chunks[number]
        if not self._is_at(place, chunk, at):
            return
        del chunk[at]
        if not chunk and len(self._chunks) > 1:
            del self._chunks[number]

    def before(self, place: Place | None, most: int) -> list[Row]:
        """Return the ``most`` rows next before that place, or the last; the last of them first."""
        number, end = len(self._chunks) - 1, len(self._chunks[-1])
        if place is not None:
            number, end = self._find(place)
        found = self._chunks[number][max(0, end - most) : end][::-1]
        while number > 0 and len(found) < most:
            number -= 1
            found += self._chunks[number][: -(most - len(found)) - 1 : -1]
        return found

    def _find(self, place: Place) -> tuple[int, int]:
        """Return the chunk that a place belongs to, and where in it."""
        number = 0
        if len(self._chunks) > 1:
            after = bisect_right(self._chunks, place, key=self._first)
            number = max(0, after - 1)
        return number, bisect_left(self._chunks[number], place, key=self._place)

    def _first(self, chunk: list[Row]) -> Place:
        return self._place(chunk[0])

    def _is_at(self, place: Place, chunk: list[Row], at: int) -> bool:
        return at < len(chunk) and self._place(chunk[at]) == place
