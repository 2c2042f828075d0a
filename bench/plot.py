"""The curves as one SVG: a panel for each pair of axes, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_WIDTH, _HEIGHT = 440, 300
_LEFT, _TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 58, 34, 360, 210
_COLOURS = ("#2563a8", "#c2571a", "#3f8f3f", "#8a4fa3")
_STYLE = (
    "text{font:12px sans-serif;fill:#1b2a3a}.axis{stroke:#8795a3;fill:none}"
    ".grid{stroke:#8795a3;stroke-opacity:.25}path{fill:none;stroke-width:1.8}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}}"
)
Curve = Sequence[tuple[float, ...]]


def write(curves: dict[str, list[tuple[float, ...]]], path: Path) -> None:
    """Draw each group of curves; a name is ``title|x axis|y axis|curve``."""
    groups: dict[str, dict[str, Curve]] = {}
    for name, points in curves.items():
        group, _, label = name.rpartition("|")
        groups.setdefault(group, {})[label] = points
    drawn = [_panel(name, lines) for name, lines in groups.items()]
    panels = "".join(
        f'<g transform="translate({number * _WIDTH},0)">{panel}</g>'
        for number, panel in enumerate(drawn)
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH * len(drawn)}" '
        f'height="{_HEIGHT}"><style>{_STYLE}</style>{panels}</svg>\n'
    )


def _panel(name: str, lines: dict[str, Curve]) -> str:
    title, x_axis, y_axis = name.split("|")
    right = _nice(max(x for points in lines.values() for x, _ in points))
    top = _nice(max(y for points in lines.values() for _, y in points))
    bottom = _TOP + _PLOT_HEIGHT
    parts = [
        f'<text x="{_LEFT}" y="18">{title}</text>',
        f'<path class="axis" d="M{_LEFT},{_TOP}v{_PLOT_HEIGHT}h{_PLOT_WIDTH}"/>',
        f'<text x="{_LEFT + _PLOT_WIDTH}" y="{bottom + 34}" text-anchor="end">{x_axis}</text>',
        f'<text x="{_LEFT}" y="{_TOP - 4}">{y_axis}</text>',
    ]
    for step in range(5):
        x, y = _LEFT + _PLOT_WIDTH * step / 4, bottom - _PLOT_HEIGHT * step / 4
        parts.append(
            f'<path class="grid" d="M{x:.0f},{_TOP}V{bottom}M{_LEFT},{y:.0f}h{_PLOT_WIDTH}"/>'
        )
        parts.append(
            f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{right * step / 4:g}</text>'
        )
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{top * step / 4:g}</text>'
        )
    for number, (label, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [
            f"{_LEFT + _PLOT_WIDTH * x / right:.1f},{bottom - _PLOT_HEIGHT * y / top:.1f}"
            for x, y in points
        ]
        parts.append(f'<path stroke="{colour}" d="M{"L".join(placed)}"/>')
        parts.append(
            f'<text x="{_LEFT + 10}" y="{_TOP + 18 + 16 * number}" style="fill:{colour}">'
            f"{label}</text>"
        )
    return "".join(parts)


def _nice(value: float) -> float:
    """Return the next value that four steps divide well."""
    step = 1e-9
    while value > step * 10:
        step *= 10
    return next(step * factor for factor in (1, 2, 4, 6, 8, 10) if step * factor >= value)
