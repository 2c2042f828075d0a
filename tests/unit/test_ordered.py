"""Rows in the order of their places, while they come and go."""

from __future__ import annotations

import random
from collections.abc import Sequence
from operator import itemgetter

from lambda_builder.ordered import Ordered

Row = tuple[float, str, bytes, int]


def test_rows_are_read_in_order_from_any_place_whatever_came_and_went() -> None:
    rng = random.Random(5)
    rows: Ordered[Row] = Ordered(itemgetter(0, 1, 2))
    model: dict[tuple[float, str, bytes], int] = {}
    for number in range(12_000):
        place = (float(rng.randrange(2_000)), rng.choice("ab"), b"")
        if rng.random() < (0.7 if number < 6_000 else 0.2):
            rows.put((*place, number))
            model[place] = number
        else:
            rows.remove(place)
            model.pop(place, None)
        if number % 200 == 0:
            most, before = rng.choice([1, 7, 1500]), (float(rng.randrange(-1, 2_001)), "b", b"")
            newest = [(*place, model[place]) for place in sorted(model, reverse=True)]
            assert read(rows, None, most) == newest
            assert read(rows, before, most) == [r for r in newest if r[:3] < before]
    for place in list(model):
        rows.remove(place)
    assert read(rows, None, 5) == []


def test_a_search_passes_over_rows_that_lack_a_text_and_misses_none_that_has_it() -> None:
    rng = random.Random(6)
    rows: Ordered[Row] = Ordered(
        itemgetter(0, 1, 2), lambda chunk: " ".join(f"<{row[3]}>" for row in chunk)
    )
    for number in range(5_000):
        rows.put((float(number), "a", b"", number))
    for number in range(3_000):
        wanted = rng.choice([number, rng.randrange(5_000)])
        at = float(rng.randrange(5_000))
        rows.remove((at, "a", b""))
        rows.put((at, "a", b"", number))
        if number % 100 == 0:
            everything = read(rows, None, 300)
            found = read(rows, None, 300, [f"<{wanted}>"])
            assert [r for r in found if r[3] == wanted] == [r for r in everything if r[3] == wanted]
            assert len(found) < 4_000
    assert read(rows, None, 300, ["<7000>"]) == []
    assert read(rows, None, 300, [f"<{everything[0][3]}>", "<7000>"]) == []


def read(
    rows: Ordered[Row],
    place: tuple[float, str, bytes] | None,
    most: int,
    having: Sequence[str] = (),
) -> list[Row]:
    """Return all rows before the place, a part at a time."""
    found: list[Row] = []
    while True:
        part, place = rows.before(place, most, having)
        assert len(part) <= most
        found += part
        if place is None:
            return found
