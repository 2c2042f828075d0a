"""One table: a name, the median of what was measured, its spread, and the target it is held to."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_NAME_WIDTH = 58
_FIGURE_WIDTH = 13
_SPREAD_WIDTH = 19
_PACKAGES = ("Flask", "gunicorn", "kubernetes", "urllib3", "structlog")


@dataclass(frozen=True, slots=True)
class Target:
    """What a median must be."""

    text: str
    is_met: Callable[[float], bool]


def at_least(value: float) -> Target:
    """Return the target of a figure that must not be below ``value``."""
    return Target(f"at least {value:,g}", lambda figure: figure >= value)


def at_most(value: float) -> Target:
    """Return the target of a figure that must not be above ``value``."""
    return Target(f"at most {value:,g}", lambda figure: figure <= value)


def below(value: float) -> Target:
    """Return the target of a figure that must stay under ``value``."""
    return Target(f"below {value:,g}", lambda figure: figure < value)


def machine() -> dict[str, Any]:
    """Return what the figures depend on: the machine, its load and the versions."""
    models = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "Model"))
    }
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": ", ".join(sorted(models)) or platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name.lower(): importlib.metadata.version(name) for name in _PACKAGES},
        "load_before": round(os.getloadavg()[0], 2),
    }


@dataclass(frozen=True, slots=True)
class _Row:
    section: str
    name: str
    unit: str
    values: tuple[float, ...]
    median: float
    target: str | None
    met: bool | None


@dataclass(slots=True)
class Report:
    """Prints each row as soon as it is known, and keeps all for the file."""

    _rows: list[_Row] = field(default_factory=list)
    curves: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    """What is plotted: the points of each curve by its name."""
    _machine: dict[str, Any] = field(default_factory=machine)
    _section: str = ""

    def start(self) -> None:
        """Print what the figures are measured on, and the heading of the table."""
        print(", ".join(f"{name} {value}" for name, value in self._machine.items()))
        heads = f"{'median':>{_FIGURE_WIDTH}}{'min to max':>{_SPREAD_WIDTH}}"
        print(f"\n{'':<{_NAME_WIDTH}}{heads}   target")

    def section(self, title: str) -> None:
        """Begin a part of the table."""
        self._section = title
        print(f"\n{title}", flush=True)

    def row(
        self,
        name: str,
        values: float | Sequence[float],
        unit: str = "",
        *,
        digits: int = 0,
        target: Target | None = None,
    ) -> None:
        """Print the median of ``values`` and what they are between."""
        all_of_them = tuple(values) if isinstance(values, Sequence) else (values,)
        median = statistics.median(all_of_them)
        met = target.is_met(median) if target else None
        shown = target.text if target else None
        self._rows.append(_Row(self._section, name, unit, all_of_them, median, shown, met))
        figure = f"{median:,.{digits}f} {unit}".strip()
        spread = f"{min(all_of_them):,.{digits}f} to {max(all_of_them):,.{digits}f}"
        line = f"  {name:<{_NAME_WIDTH - 2}}{figure:>{_FIGURE_WIDTH}}"
        line += f"{spread if len(all_of_them) > 1 else '':>{_SPREAD_WIDTH}}"
        verdict = f"   {shown}: {'met' if met else 'MISSED'}" if target else ""
        print((line + verdict).rstrip(), flush=True)

    @property
    def missed(self) -> list[str]:
        """What missed its target."""
        return [
            f"{row.section}: {row.name}: {row.median:,.3g} {row.unit}, not {row.target}"
            for row in self._rows
            if row.met is False
        ]

    def end(self, seconds: float) -> None:
        """Print what missed its target, and how busy the machine was."""
        held = [row for row in self._rows if row.target]
        print(f"\n{len(held) - len(self.missed)} of {len(held)} targets met.")
        for line in self.missed:
            print(f"  missed: {line}")
        self._machine |= {"load_after": round(os.getloadavg()[1], 2), "seconds": round(seconds)}
        busy = f"load {self._machine['load_after']} on average in the last five minutes"
        print(f"\n{seconds:.0f} s, {busy}")

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        found = {
            "machine": self._machine,
            "command": sys.argv,
            "rows": [asdict(row) for row in self._rows],
            "curves": self.curves,
        }
        path.write_text(json.dumps(found, indent=2) + "\n")
