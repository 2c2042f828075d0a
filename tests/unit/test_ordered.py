"""Rows in the order of their places, while they come and go."""

from __future__ import annotations

import random
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
            assert rows.before(None, most) == newest[:most]
            assert rows.before(before, most) == [r for r in newest if r[:3] < before][:most]
    for place in list(model):
        rows.remove(place)
    assert rows.before(None, 5) == []
