"""``lambda-builder bench``: load on an installed service, and what it made of that."""

from __future__ import annotations

import secrets
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lambda_builder.cli.connection import ending_well
from lambda_builder.cli.load import Answers, Load, Target
from lambda_builder.client import Client
from lambda_builder.settings import PREFIX

SAFE_COUNT = 100
SAFE_RATE = 10.0
"""Events a second; what is more in any way has to be asked for with both numbers."""
_LOOK_SECONDS = 0.5
_PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Made:
    """What the service's own numbers say."""

    jobs: int
    seconds: float
    left: int
    """Builds that still waited in the end."""


def _one_line(context: click.Context, parameter: click.Parameter, token: str | None) -> str | None:
    """Refuse a token that would be more than one header."""
    if token is not None and not (token.isascii() and token.isprintable()):
        raise click.BadParameter("must be printable ASCII, in one line.", context, parameter)
    return token


@click.command()
@click.argument("url")
@click.option("--count", type=click.IntRange(1, 1_000_000), help="Events.  [default: 100]")
@click.option("--rate", type=click.FloatRange(min=0.1), help="Events a second.  [default: 10]")
@click.option("--closed-loop", is_flag=True, help="Send as soon as answered; needs --count.")
@click.option(
    "--connections",
    default=16,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Connections that stay open.",
)
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0.1, max=3600),
    help="Send nothing after so long.",
)
@click.option(
    "--patience",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, max=3600),
    help="Seconds to wait in the end for the Jobs of what was accepted.",
)
@click.option("--tenant", default="bench", show_default=True, help="Third-party ID of the builds.")
@click.option("--cancel", is_flag=True, help="Cancel in the end what was accepted.")
@click.option(
    "--token",
    envvar=f"{PREFIX}TOKEN",
    show_envvar=True,
    callback=_one_line,
    help="What the service knows you by: it needs send and, for every tenant, read.",
)
@ending_well()
def bench(
    url: str,
    count: int | None,
    rate: float | None,
    closed_loop: bool,
    connections: int,
    seconds: float,
    patience: float,
    tenant: str,
    cancel: bool,
    token: str | None,
) -> None:
    """Send build events to the service at URL and tell how it bears them.

    Each accepted event becomes a real Job, whose build fails where there is no such context.
    Nothing is sent after --seconds. Without numbers it is 100 events at 10 a second; more needs
    --count and --rate, or --count and --closed-loop.

    \b
    lambda-builder bench http://localhost:8080
    lambda-builder bench http://localhost:8080 --count 5000 --rate 200 --cancel
    """
    _check_bounds(count, rate, closed_loop)
    try:
        target = Target.of(url)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="URL") from error
    api, prefix = Client(url, token, patience=0.0), f"bench-{secrets.token_hex(4)}"
    load = Load(
        target,
        lambda number: target.event(
            f"{prefix}-{number}",
            f"network.notifi.{tenant}",
            {"parser_id": f"bench-{number}", "third_party_id": tenant},
            token=token,
        ),
        count=count or SAFE_COUNT,
        rate=0.0 if closed_loop else rate or SAFE_RATE,
        connections=connections,
        seconds=seconds,
    )
    click.echo(f"events {prefix}-0 and so on, to {url}", err=True)
    try:
        made = _run(load, api, count or SAFE_COUNT, patience)
        _show(load.answers, made)
    finally:
        if cancel:
            _cancel(api, prefix)
        else:
            click.echo(f"to cancel what waits or runs: {_cancel_command(url, prefix)}", err=True)
    if not load.answers.accepted:
        sys.exit(1)


def _check_bounds(count: int | None, rate: float | None, closed_loop: bool) -> None:
    """Raise ``UsageError`` where more than is safe was not asked for in both ways."""
    if closed_loop and rate is not None:
        raise click.UsageError("--closed-loop has no rate: leave out one of them.")
    if (count or 0) <= SAFE_COUNT and (rate or 0) <= SAFE_RATE and not closed_loop:
        return
    if count is None:
        raise click.UsageError("say with --count how many events at most.")
    if rate is None and not closed_loop:
        raise click.UsageError("say with --rate how many events a second, or --closed-loop.")


def _run(load: Load, api: Client, count: int, patience: float) -> Made:
    """Send everything while progress is shown; Ctrl-C ends the waiting, not the report."""
    failures: list[OSError] = []

    def send() -> None:
        try:
            load.run()
        except OSError as error:
            failures.append(error)

    before = api.call("GET", "/async-jobs/stats")["created_total"]
    sender, begun = threading.Thread(target=send, name="load"), time.monotonic()
    sender.start()
    made = Made(0, 0.0, 0)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        sending = progress.add_task("answered", total=count)
        making = progress.add_task("Jobs made", total=count)
        try:
            for stats in _looks(api, sender, patience):
                jobs = stats["created_total"] - before
                left = stats["queue_size"] + stats["busy_workers"]
                made = Made(jobs, time.monotonic() - begun, left)
                progress.update(sending, completed=load.answers.answered)
                progress.update(making, completed=jobs, total=load.answers.accepted)
        except KeyboardInterrupt:
            progress.console.print("stopped")
        finally:
            load.stop()
            sender.join()
    if failures:
        click.echo(f"the load ended early: {failures[0]}", err=True)
    return made


def _looks(api: Client, sender: threading.Thread, patience: float) -> Iterator[dict[str, Any]]:
    """Yield the stats until all is sent and worked off, or that takes too long."""
    pause, deadline = threading.Event(), float("inf")
    while True:
        sending = sender.is_alive()
        stats: dict[str, Any] = api.call("GET", "/async-jobs/stats")
        yield stats
        now = time.monotonic()
        if not sending:
            deadline = min(deadline, now + patience)
            if stats["queue_size"] + stats["busy_workers"] == 0 or now > deadline:
                return
        pause.wait(_LOOK_SECONDS)


def _show(answers: Answers, made: Made) -> None:
    table = Table("", "", show_header=False, box=None)
    rate = answers.accepted / answers.seconds if answers.seconds else 0.0
    table.add_row("accepted", f"{answers.accepted:,} of {answers.sent:,}, {rate:,.1f}/s")
    for name, number in sorted(answers.refused.items()):
        asked = answers.retry_after.get(name)
        wait = f", Retry-After {asked[0]} to {asked[1]} s" if asked else ""
        table.add_row(f"refused: {name}", f"{number:,}{wait}")
    if answers.unanswered:
        table.add_row("no answer", f"{answers.unanswered:,}")
    for percent in _PERCENTILES:
        table.add_row(f"latency, p{percent:g}", f"{answers.percentile(percent) * 1e3:,.1f} ms")
    jobs = f"{made.jobs:,}, {made.jobs / made.seconds:,.1f}/s" if made.seconds else "unknown"
    table.add_row("Jobs made meanwhile, by whomever", jobs)
    if made.left:
        table.add_row("still waiting", f"{made.left:,}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _cancel(api: Client, prefix: str) -> None:
    """Cancel all that has not ended; the service takes a thousand at a time."""
    done = 0
    while outcome := api.call("POST", "/async-jobs/cancel", params={"q": prefix})["done"]:
        done += outcome
    click.echo(f"cancelled: {done:,}")


def _cancel_command(url: str, prefix: str) -> str:
    return f"lambda-builder jobs cancel --url {shlex.quote(url)} --all-matching --q {prefix}"
