"""All builds that filters mean, cancelled or retried."""

from __future__ import annotations

from math import ceil

import click

from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import Printer
from lambda_builder.client import BulkOutcome, BulkRefusal, Client, Filters

_AT_A_TIME = 1000
"""Builds that the service steers by one request."""


def steer_all(
    client: Client,
    printer: Printer,
    action: str,
    filters: Filters,
    everything: bool,
    dry_run: bool,
    asks: bool,
) -> None:
    """Cancel or retry all builds that the filters mean; ``asks`` first, with their number.

    Ends the command with an error where any was refused.
    """
    call = client.cancel_all if action == "cancel" else client.retry_all
    counted = call(dry_run=True, everything=everything, **filters)
    outcome = counted
    if not dry_run and counted.matched:
        if asks:
            click.confirm(f"{action} {counted.matched:,} builds?", abort=True, err=True)
        done, refused = 0, dict[str, BulkRefusal]()
        # No more rounds than there were builds at first: those that fail again would match again.
        for _ in range(ceil(counted.matched / _AT_A_TIME)):
            some = call(everything=everything, **filters)
            done += some.done
            refused.update({each.job_name: each for each in some.refused})
            if not some.done:
                break
        outcome = BulkOutcome(matched=counted.matched, done=done, refused=tuple(refused.values()))
    _show(printer, outcome)
    if outcome.refused:
        raise Failure(f"{len(outcome.refused):,} of the builds were refused.", Exit.FAILED)


def _show(printer: Printer, outcome: BulkOutcome) -> None:
    told = {
        "matched": outcome.matched,
        "done": outcome.done,
        "refused": [
            {"job_name": each.job_name, "code": each.code, "detail": each.detail}
            for each in outcome.refused
        ],
    }
    rows = {"matched": f"{outcome.matched:,}", "done": f"{outcome.done:,}"}
    refused = {each.job_name: f"{each.code}: {each.detail}" for each in outcome.refused}
    printer.thing(told, {**rows, **refused}, str(outcome.matched))
