"""Ordered: rows by their places, kept in order while they come and go.

In chunks, so that one of a hundred thousand is put in or taken out without moving all the others,
and so that a search passes over a thousand at once: memory is read faster in one piece.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from lambda_builder.selection import Place

Row = TypeVar("Row")

_LONGEST = 1000


class _Chunk(list[Row]):
    text: str | None = None
    """All texts of the rows, once somebody searched for one and until a row changes."""


class Ordered(Generic[Row]):
    """One row for each place; not thread-safe."""

    def __init__(
        self, place: Callable[[Row], Place], text: Callable[[Sequence[Row]], str] = lambda _: ""
    ) -> None:
        """``text`` puts together what rows are searched by."""
        self._place = place
        self._text = text
        self._chunks: list[_Chunk[Row]] = [_Chunk()]
        """None but an only one is empty."""
        self._searched = False

    def put(self, row: Row) -> None:
        """Put ``row`` at its place, instead of one that is there."""
        place = self._place(row)
        number, at = self._find(place)
        chunk = self._chunks[number]
        chunk.text = None
        if self._is_at(place, chunk, at):
            chunk[at] = row
            return
        chunk.insert(at, row)
        if len(chunk) > _LONGEST:
            half = _LONGEST // 2
            self._chunks[number : number + 1] = [_Chunk(chunk[:half]), _Chunk(chunk[half:])]

    def changed(self, place: Place) -> None:
        """Note that the row at that place has another text now."""
        if self._searched:
            self._chunks[self._find(place)[0]].text = None

    def remove(self, place: Place) -> None:
        """Take away the row at that place, if there is one."""
        number, at = self._find(place)
        chunk = self._chunks[number]
        if not self._is_at(place, chunk, at):
            return
        del chunk[at]
        chunk.text = None
        if not chunk and len(self._chunks) > 1:
            del self._chunks[number]

    def before(
        self, place: Place | None, most: int, having: Sequence[str] = ()
    ) -> tuple[list[Row], Place | None]:
        """Return rows next before that place, or the last; the last of them first.

        No more than ``most``, and none where it is plain that there is none with each of the texts
        ``having``. And the place before which the next rows are; None at the end.
        """
        number, end = len(self._chunks) - 1, len(self._chunks[-1])
        if place is not None:
            number, end = self._find(place)
        if end == 0 and number > 0:
            number -= 1
            end = len(self._chunks[number])
        chunk = self._chunks[number]
        if having and not self._may_have(chunk, having):
            begin, found = 0, []
        else:
            begin = max(0, end - most)
            found = chunk[begin:end][::-1]
        is_last = begin == 0 and number == 0
        return found, None if is_last else self._place(chunk[begin])

    def _may_have(self, chunk: _Chunk[Row], texts: Sequence[str]) -> bool:
        if chunk.text is None:
            self._searched = True
            chunk.text = self._text(chunk)
        return all(text in chunk.text for text in texts)

    def _find(self, place: Place) -> tuple[int, int]:
        """Return the chunk that a place belongs to, and where in it."""
        last = self._chunks[-1]
        if last and self._place(last[-1]) < place:  # most that are put are the newest
            return len(self._chunks) - 1, len(last)
        number = 0
        if len(self._chunks) > 1:
            after = bisect_right(self._chunks, place, key=self._first)
            number = max(0, after - 1)
        return number, bisect_left(self._chunks[number], place, key=self._place)

    def _first(self, chunk: list[Row]) -> Place:
        return self._place(chunk[0])

    def _is_at(self, place: Place, chunk: list[Row], at: int) -> bool:
        return at < len(chunk) and self._place(chunk[at]) == place
