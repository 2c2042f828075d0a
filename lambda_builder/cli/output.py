"""How answers are printed: a table for people, JSON and YAML for programs, names for pipes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

FORMATS = ("table", "json", "yaml", "name")
_PIPED_WIDTH = 200
_STYLES = {
    "succeeded": "green",
    "failed": "bold red",
    "dead": "bold red",
    "running": "cyan",
    "retrying": "yellow",
    "cancelled": "dim",
}
_LISTED = ("job", "state", "place", "attempts", "accepted", "error", "category")


def console(*, stderr: bool = False) -> Console:
    """Return where to print: with colour on a terminal alone, and never with ``NO_COLOR``."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _PIPED_WIDTH)


@dataclass(frozen=True, slots=True)
class Printer:
    """Prints answers as ``wanted``; where that is None, as fits what it is."""

    wanted: str | None

    @property
    def single(self) -> str:
        """The format of one thing: for people on a terminal, else for programs."""
        return self.wanted or ("table" if sys.stdout.isatty() else "json")

    @property
    def several(self) -> str:
        """The format of a list."""
        return self.wanted or "table"

    def build(self, build: Mapping[str, Any]) -> None:
        """Print one build."""
        self.thing(build, _shown(build), build["job_name"])

    def thing(self, told: Any, rows: Mapping[str, str | Text], name: str = "") -> None:
        """Print one thing: as it was ``told``, or in ``rows``."""
        if self.single == "name":
            click.echo(name)
        elif self.single == "table":
            console().print(pairs(rows))
        else:
            data(told, self.single)

    def builds(self, items: Sequence[Mapping[str, Any]], next_cursor: str | None) -> None:
        """Print a list of builds."""
        if self.several == "name":
            names(build["job_name"] for build in items)
        elif self.several == "table":
            console().print(build_table(items))
        else:
            data({"items": list(items), "next_cursor": next_cursor}, self.several)


def names(listed: Iterable[str]) -> None:
    """Print one name a line."""
    for name in listed:
        click.echo(name)


def data(told: Any, wanted: str) -> None:
    """Print JSON, indented on a terminal, or YAML."""
    if wanted == "yaml":
        click.echo(yaml.safe_dump(told, sort_keys=False, allow_unicode=True).rstrip())
        return
    text = json.dumps(told, ensure_ascii=False)
    Console().print_json(text) if sys.stdout.isatty() else click.echo(text)


def state(name: str) -> Text:
    """Return a state in its colour."""
    return Text(name, style=_STYLES.get(name, ""))


def pairs(rows: Mapping[str, str | Text]) -> Table:
    """Return names with values, one a row."""
    table = Table("", "", show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), value if isinstance(value, Text) else Text(value))
    return table


def build_table(items: Iterable[Mapping[str, Any]]) -> Table:
    """Return builds, one a row; of their names nothing is cut off, for they are what one copies."""
    items = list(items)
    longest = max((len(build["job_name"]) for build in items), default=0)
    table = Table(Column(_LISTED[0], min_width=longest, no_wrap=True), *_LISTED[1:], box=None)
    for build in items:
        error = build["error"] or {}
        table.add_row(
            build["job_name"],
            state(build["state"]),
            str(build["position"] or ""),
            str(build["attempts"]),
            build["accepted_at"] or "",
            Text(error.get("code", "")),
            build.get("failure_category") or "",
        )
    return table


def _shown(build: Mapping[str, Any]) -> dict[str, str | Text]:
    """Return what of a build is known, without what is not."""
    flat = {**build, **{f"event_{name}": value for name, value in build["event"].items()}}
    error = flat.pop("error")
    del flat["event"]
    flat["error"] = error and f"{error['code']}: {error['message']}"
    known = {name: str(value) for name, value in flat.items() if value is not None}
    return {**known, "state": state(build["state"])}
