"""What is printed: lines of a name, a figure and, where there is one, the target it is held to."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field

_NAME_WIDTH = 52
_FIGURE_WIDTH = 22


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must be."""

    text: str
    is_met: Callable[[float], bool]


def at_least(value: float, unit: str = "") -> Target:
    """Return the target of a figure that must not be below ``value``."""
    return Target(f"at least {value:,g}{unit}", lambda figure: figure >= value)


def below(value: float, unit: str = "") -> Target:
    """Return the target of a figure that must stay under ``value``."""
    return Target(f"below {value:,g}{unit}", lambda figure: figure < value)


@dataclass(slots=True)
class Report:
    """Prints as it goes, and remembers what missed its target."""

    missed: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Print what the figures were measured on."""
        print(
            f"Python {platform.python_version()}, {os.cpu_count()} cores, "
            f"load {os.getloadavg()[0]:.1f} at the start"
        )

    def section(self, title: str) -> None:
        """Print a heading."""
        print(f"\n{title}\n{'-' * len(title)}", flush=True)

    def figure(
        self,
        name: str,
        value: float,
        unit: str = "",
        *,
        digits: int = 0,
        target: Target | None = None,
    ) -> None:
        """Print one figure."""
        shown = f"{value:,.{digits}f}{unit}"
        line = f"{name:<{_NAME_WIDTH}}{shown:>{_FIGURE_WIDTH}}"
        if target is not None:
            is_met = target.is_met(value)
            line += f"   {target.text}: {'met' if is_met else 'MISSED'}"
            if not is_met:
                self.missed.append(f"{name}: {shown}, not {target.text}")
        print(line, flush=True)

    def end(self, seconds: float) -> None:
        """Print what missed its target, and how busy the machine was in those ``seconds``."""
        print()
        print("Every target was met." if not self.missed else "Missed:")
        for line in self.missed:
            print(f"  {line}")
        print(
            f"\n{seconds:.0f} s, load {os.getloadavg()[1]:.1f} on average in the last five minutes"
        )
