"""``lambda-builder stats``: queue, workers and totals."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator

import click
from rich.live import Live
from rich.text import Text

from lambda_builder.cli.connection import Service, connected
from lambda_builder.cli.output import console, pairs
from lambda_builder.client import Client, Problem, Stats

_POLL_SECONDS = 2.0
_NO_STREAM = ("not_found", "too_many_streams")
"""Codes of a service that tells no changes, or not to so many."""


@click.command()
@click.option("--watch", is_flag=True, help="Go on for ever: a table that changes, or JSON lines.")
@connected
def stats(service: Service, /, watch: bool) -> None:
    """Show queue, workers and totals.

    \b
    lambda-builder stats --watch
    lambda-builder stats -o json | jq .queue_size
    """
    with service.client() as client:
        if not watch:
            told = client.stats()
            service.printer.thing(told.raw, _rows(told), service.url)
        elif service.printer.single == "table" and sys.stdout.isatty():
            with Live(console=console(), auto_refresh=False) as live:
                for told in _updates(client):
                    live.update(pairs(_rows(told)), refresh=True)
        else:
            for told in _updates(client):
                click.echo(json.dumps(told.raw))
                sys.stdout.flush()


def _updates(client: Client) -> Iterator[Stats]:
    """Yield the stats for ever: as they are told every second, else by asking."""
    yield client.stats()
    try:
        for change in client.changes():
            if isinstance(change, Stats):
                yield change
    except Problem as error:
        if error.code not in _NO_STREAM:
            raise
    pause = threading.Event()
    while not pause.wait(_POLL_SECONDS):
        yield client.stats()


def _rows(told: Stats) -> dict[str, str | Text]:
    """Return the stats in words, what blocks the queue first."""
    rows: dict[str, str | Text] = {}
    if not told.api_available:
        rows["blocked"] = Text("the Kubernetes API does not answer", style="bold red")
    elif told.capacity_blocked:
        rows["blocked"] = Text(f"{told.capacity_blocked:,} wait for a quota", style="yellow")
    if told.is_shutdown:
        rows["stopping"] = Text("the service shuts down", style="yellow")
    return {
        **rows,
        "queue": f"{told.queue_size:,} of {told.max_queue_size:,}, {told.delayed:,} delayed",
        "oldest waits": f"{told.oldest_queued_seconds:,.1f} s",
        "workers": f"{told.busy_workers:,} of {told.worker_count:,} busy "
        f"({told.min_workers:,} to {told.max_workers:,})",
        "active Jobs": f"{told.active_jobs:,}",
        "accepted": f"{told.accepted_total:,}, {told.duplicates_total:,} more delivered again",
        "created": f"{told.created_total:,}, {told.failed_total:,} failed",
        "no Job": f"{told.dead_total:,} dead, {told.cancelled_total:,} cancelled, "
        f"{told.skipped_total:,} skipped",
        "refused": f"{told.rejected_total:,}, {told.queue_full_total:,} as the queue was full",
        "tried again": f"{told.retried_total:,}",
    }
