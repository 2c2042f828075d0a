"""Builds followed: one to its end, or all that filters mean."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click
from rich.live import Live
from rich.text import Text

from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import Printer, build_table, console, state
from lambda_builder.client import Build, Client, Filters

_ROWS = 200


def watch_one(client: Client, printer: Printer, build_id: str, timeout: float | None) -> None:
    """Print each state of a build until it has ended; raises ``Failure`` unless it succeeds."""
    build = client.wait(build_id, timeout, on_change=lambda build: tell(printer, build))
    if not build.succeeded:
        raise not_built(build)


def not_built(build: Build) -> Failure:
    """Return how a command ends for a build that has not succeeded, by the cause and no more."""
    cause = (
        build.error.message.partition("\n")[0].partition("; last lines")[0] if build.error else ""
    )
    words = [build.failure_category or "", cause]
    told = "".join(f": {word}" for word in words if word)
    look = f"see `lambda-builder jobs logs {build.job_name}`"
    return Failure(f"{build.job_name} is {build.state}{told}; {look}.", Exit.NOT_BUILT)


def watch_all(
    client: Client, printer: Printer, interval: float, timeout: float | None, filters: Filters
) -> None:
    """Show the newest builds that the filters mean for ever, or for ``timeout`` seconds."""
    if printer.several != "table" or not sys.stdout.isatty():
        seen: dict[str, tuple[str, int]] = {}
        for items in _looks(client, interval, timeout, filters):
            for build in reversed(items):
                now = (build.state.value, build.attempts)
                if seen.get(build.job_name) != now:
                    tell(printer, build)
            seen = {build.job_name: (build.state.value, build.attempts) for build in items}
        return
    out = console()
    with Live(console=out, auto_refresh=False, screen=True) as live:
        for items in _looks(client, interval, timeout, filters):
            room = max(1, out.height - 2)
            live.update(build_table(build.raw for build in items[:room]), refresh=True)


def _looks(
    client: Client, interval: float, timeout: float | None, filters: Filters
) -> Iterator[tuple[Build, ...]]:
    begun, pause = time.monotonic(), threading.Event()
    while True:
        yield client.page(limit=_ROWS, **filters).items
        if timeout is not None and time.monotonic() - begun + interval > timeout:
            return
        pause.wait(interval)


def tell(printer: Printer, build: Build) -> None:
    """Print the state of a build in one line."""
    if printer.several == "name":
        click.echo(build.job_name)
    elif printer.several == "table":
        moment = f"{datetime.now(UTC):%H:%M:%S}"
        code = build.failure_category or (build.error.code if build.error else "")
        place = f"place {build.position}" if build.position else ""
        words = (moment, build.job_name, state(build.state), code or place)
        line = Text(" ").join(
            Text(each) if isinstance(each, str) else each for each in words if each
        )
        console().print(line, soft_wrap=True)
    else:  # a document for each change: of YAML too, since JSON is YAML
        click.echo(json.dumps(build.raw, ensure_ascii=False))
    sys.stdout.flush()
