"""Draws docs/architecture.svg from the real imports: ``python docs/architecture_picture.py``.

A box is a package, or a module that stands alone; an arrow runs from who imports to what is
imported. The floors are those of import-linter in setup.cfg. The core, which everybody may import,
has a box and no arrows; wiring, which makes every object below it, has those to the floor below.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = "lambda_builder"
CORE = ("telemetry", "builds", "settings", "threads", "precedence", "errors")
_LEFT_OUT = ("devcluster",)
_BOX = (128, 34)
_GAP = (70, 48)
_MARGIN = 16
_STYLE = (
    "text{font:13px sans-serif;text-anchor:middle;fill:#1b2a3a}"
    "rect{fill:#eef4fb;stroke:#4a6c8c;rx:5}.core rect{fill:#f4f1e8;stroke:#8c7f4a}"
    "path{fill:none;stroke:#6b7f93;stroke-width:1.1}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#1d2b3a;stroke:#7fa3c7}"
    ".core rect{fill:#2b2819;stroke:#b5a76a}path{stroke:#8fa5ba}}"
)


def rooms_by_floor() -> list[list[str]]:
    """Return the rooms of each floor, the top one first, as setup.cfg names them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    layers = config["importlinter:contract:floors"]["layers"].split("\n")
    floors = [[room.strip(" ()") for room in layer.split("|")] for layer in layers if layer.strip()]
    drawn = [[room for room in floor if room not in (*CORE, *_LEFT_OUT)] for floor in floors]
    return [floor for floor in drawn if floor]


def arrows() -> list[tuple[str, str]]:
    """Return (importer, imported) between rooms that are not of the core, sorted."""
    graph = grimp.build_graph(PACKAGE)
    found = {
        (_room(importer), _room(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    apart = {"", *CORE, *_LEFT_OUT}
    drawn = {(a, b) for a, b in found if a != b and not {a, b} & apart}
    return sorted((a, b) for a, b in drawn if a != "wiring" or b in ("web", "service"))


def _room(module: str) -> str:
    return module.removeprefix(PACKAGE).lstrip(".").partition(".")[0]


def draw() -> str:
    """Return the picture as SVG text."""
    floors, lines = rooms_by_floor(), arrows()
    width = max(len(floor) for floor in floors) * (_BOX[0] + _GAP[0]) + 2 * _MARGIN
    places = {
        room: (
            width * (2 * column + 1) / (2 * len(floor)) + _shift(row, len(floor)),
            _MARGIN + row * (_BOX[1] + _GAP[1]),
        )
        for row, floor in enumerate(floors)
        for column, room in enumerate(floor)
    }
    bottom = _MARGIN + len(floors) * (_BOX[1] + _GAP[1])
    parts = [_arrow(places[a], places[b], a, b) for a, b in lines]
    parts += [_box(room, x, y) for room, (x, y) in places.items()]
    parts.append(f'<g class="core">{_box(" · ".join(CORE), width / 2, bottom, 420)}</g>')
    height = bottom + _BOX[1] + _MARGIN
    return "\n".join([*_head(width, height), *parts, "</svg>", ""])


def _shift(row: int, rooms: int) -> float:
    """Set floors of one room off to alternate sides, so that arrows past them can be told apart."""
    return (110 if row % 2 else -110) if rooms == 1 else 0


def _head(width: int, height: int) -> Iterable[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img">'
    )
    yield "<title>The packages of lambda_builder and what each imports</title>"
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8"/></marker></defs>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float], a: str, b: str) -> str:
    (x1, y1), (x2, y2) = start, end
    y1 += _BOX[1]
    bend = max(24.0, (y2 - y1) / 2)
    return (
        f'<path marker-end="url(#tip)" d="M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f}'
        f' {x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2:.0f}"><title>{a} imports {b}</title></path>'
    )


def _box(text: str, x: float, y: float, width: float = _BOX[0]) -> str:
    return (
        f'<g><rect x="{x - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{_BOX[1]}"/>'
        f'<text x="{x:.0f}" y="{y + 22:.0f}">{escape(text)}</text></g>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
