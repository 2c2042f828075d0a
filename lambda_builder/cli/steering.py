"""All builds that filters mean, cancelled or retried."""

from __future__ import annotations

from datetime import timedelta

import click

from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import Printer
from lambda_builder.client import BulkOutcome, BulkRefusal, Client, Filters


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

    Those that are accepted later are not meant. Ends the command with an error where any was
    refused; where it is interrupted, what was done is told all the same.
    """
    call = client.cancel_all if action == "cancel" else client.retry_all
    meant: Filters = {**filters}
    if everything or any(filters.values()):  # else it is refused, as a time would keep it from
        meant["until"] = _until(client, filters)
    matched = call(dry_run=True, everything=everything, **meant).matched
    if matched and asks and not dry_run:
        click.confirm(f"{action} {matched:,} builds?", abort=True, err=True)
    done, refused = 0, dict[str, BulkRefusal]()
    try:
        while not dry_run and done + len(refused) < matched:
            some = call(everything=everything, **meant)
            done += some.done
            refused.update({each.job_name: each for each in some.refused})
            if not some.done:
                break
    finally:
        _show(printer, BulkOutcome(matched=matched, done=done, refused=tuple(refused.values())))
    if refused:
        raise Failure(f"{len(refused):,} of the builds were refused.", Exit.FAILED)


def _until(client: Client, filters: Filters) -> str | None:
    """Return the moment after the newest of the builds, by the service's own clock."""
    newest = client.page(limit=1, **filters).items
    accepted = (newest[0].accepted_at or newest[0].created_at) if newest else None
    if accepted is None:
        return filters.get("until")
    return (accepted + timedelta(milliseconds=1)).isoformat(timespec="milliseconds")


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
