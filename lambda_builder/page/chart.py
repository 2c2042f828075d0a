"""The chart of the last minutes: where its bars stand. Pure; the template draws them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_builder.telemetry.minutes import Totals

WIDTH = 640
HEIGHT = 112
_TOP, _BOTTOM, _LEFT = 8, 92, 34
_BAR = 12.0
_STEPS = (1, 2, 4, 6, 8)
_LEAST = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute's bars, and what they say."""

    label: str
    totals: Totals
    x: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn."""

    minutes: tuple[Minute, ...]
    lines: tuple[tuple[float, int], ...]
    """Heights of the grid's lines, and the numbers they stand for."""
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened in all of this time."""
        return not any(any(minute.totals) for minute in self.minutes)


def chart(counts: Sequence[tuple[int, Totals]]) -> Chart:
    """Lay out the counts of minutes, each with its beginning in seconds since the epoch."""
    most = max((max(t.accepted, t.created, t.succeeded + t.failed) for _, t in counts), default=0)
    top = _round_up(most)
    slot = (WIDTH - _LEFT) / max(1, len(counts))
    unit = (_BOTTOM - _TOP) / top
    minutes = tuple(
        Minute(
            time.strftime("%H:%M", time.gmtime(begin)),
            totals,
            round(_LEFT + place * slot, 1),
            _bars(totals, _LEFT + place * slot + (slot - 2 * _BAR - 2) / 2, unit),
        )
        for place, (begin, totals) in enumerate(counts)
    )
    lines = tuple((round(_BOTTOM - value * unit, 1), value) for value in sorted({0, top // 2, top}))
    return Chart(minutes, lines)


def _bars(totals: Totals, x: float, unit: float) -> tuple[Bar, ...]:
    """Return events beside what ended; of the former those with a Job lie upon the rest."""
    right = x + _BAR + 2
    failed = totals.failed * unit
    placed = (
        ("accepted", x, _BOTTOM, totals.accepted * unit),
        ("created", x, _BOTTOM, totals.created * unit),
        ("failed", right, _BOTTOM, failed),
        ("succeeded", right, _BOTTOM - failed, totals.succeeded * unit),
    )
    return tuple(
        Bar(kind, round(at, 1), round(base - height, 1), _BAR, round(height, 1))
        for kind, at, base, height in placed
        if height
    )


def _round_up(most: int) -> int:
    """Return the chart's upper end: a number that is easy to read."""
    size = 1
    while True:
        for step in _STEPS:
            if step * size >= max(most, _LEAST):
                return step * size
        size *= 10
