"""A Dockerfile as stages of instructions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One FROM and what follows it, as (instruction, arguments)."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all_of(self, instruction: str) -> list[str]:
        return [arguments for name, arguments in self.steps if name == instruction]

    def last(self, instruction: str) -> str:
        return self.all_of(instruction)[-1]


def stages(path: Path) -> list[Stage]:
    """Read the stages of the file at ``path``; comments are dropped and lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].steps.append((instruction, arguments.strip()))
    return found


def sources(arguments: str) -> list[str]:
    """Return what a COPY takes from the build context."""
    words = arguments.split()
    return [] if words[0].startswith("--from=") else words[:-1]


def command(arguments: str) -> list[str]:
    """Read an exec form; raises ``ValueError`` for a shell form, which gets no signals."""
    words: list[str] = json.loads(arguments)
    return words
