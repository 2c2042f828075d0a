"""``lambda-builder send``: events sent, each until it is accepted or refused for good."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import IO, Any

import click

from lambda_builder.cli.connection import Service, connected
from lambda_builder.cli.deliveries import Deliveries
from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.reading import Event, event_of, events_of
from lambda_builder.cli.watching import not_built
from lambda_builder.client import Build


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"), required=False)
@click.option("--parser-id", metavar="ID", help="What to build.")
@click.option("--third-party-id", "--tenant", metavar="ID", help="Whose it is.")
@click.option("--id", "event_id", metavar="ID", help="Of the event.  [default: a fresh one]")
@click.option("--source", help="Of the event.  [default: network.notifi.TENANT]")
@click.option("--type", "event_type", help="Of the event; see `lambda-builder events`.")
@click.option("--correlation-id", metavar="ID", help="What you call the build.")
@click.option(
    "--priority",
    type=click.Choice(("low", "normal", "high")),
    help="Higher ones leave the queue first.",
)
@click.option("--context-url", metavar="URL", help="Where the build context is.")
@click.option("--image", help="What to push.")
@click.option("--runtime", help="For the Job template.")
@click.option("--content-hash", help="For the Job template.")
@click.option(
    "--build-arg",
    "build_args",
    metavar="NAME=VALUE",
    multiple=True,
    help="An argument of the image build; may be given again.",
)
@click.option("--rate", type=click.FloatRange(min=0.01), help="Most events a second.")
@click.option(
    "--parallel",
    default=4,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Events on their way at a time.",
)
@click.option(
    "--patience",
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="For how long an event that finds no room is sent again.",
)
@click.option("--wait", is_flag=True, help="Wait until everything is built.")
@click.option(
    "--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="Wait for no longer."
)
@connected
def send(
    service: Service,
    /,
    file: IO[str] | None,
    rate: float | None,
    parallel: int,
    patience: float,
    wait: bool,
    timeout: float | None,
    build_args: tuple[str, ...],
    **options: Any,
) -> None:
    """Send events: one from options, or those of FILE; - is standard input.

    FILE holds a JSON object, a list, or an object a line, each a CloudEvent in structured form or
    the data of a build; options say what an object does not. An event that is refused with 429 or
    503 is sent again after its Retry-After, under the same ID: there is one build. With --id the
    events of FILE are ID-1, ID-2 and so on, so that a file can be sent twice and is built once.

    With --wait it exits with 6 unless every build succeeds, and with 7 after --timeout.

    \b
    lambda-builder send --parser-id parser-1 --tenant customer-1 --wait
    lambda-builder send builds.jsonl --rate 5 --id nightly-2026-11-25
    lambda-builder events network.notifi.lambda.build.start | lambda-builder send -
    """
    events = _events(file, {**options, "build_args": _arguments(build_args)})
    deliveries = Deliveries(service, events, parallel, rate, patience)
    try:
        deliveries.send()
        if wait:
            deliveries.wait(timeout)
    finally:
        deliveries.show()
    if deliveries.failures:
        raise deliveries.failures[-1]
    _judge(deliveries.built)


def _judge(built: Sequence[Build]) -> None:
    """Raise ``Failure`` unless all of what was waited for has succeeded."""
    failed = [build for build in built if not build.succeeded]
    if failed and len(built) == 1:
        raise not_built(failed[0])
    if failed:
        raise Failure(
            f"{len(failed):,} of {len(built):,} builds did not succeed, as {failed[0].job_name}.",
            Exit.NOT_BUILT,
        )


def _events(file: IO[str] | None, options: dict[str, Any]) -> list[tuple[int, Event]]:
    if file is None and options["parser_id"]:
        return [(1, event_of({}, options))]
    if file is None and sys.stdin.isatty():
        raise click.UsageError("there is no event: give --parser-id, or FILE; - is standard input.")
    try:
        return list(events_of((file or sys.stdin).read(), options))
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the file is no UTF-8: {error.reason}.") from error


def _arguments(pairs: Sequence[str]) -> dict[str, str] | None:
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE.", param_hint="--build-arg")
    return dict(pair.split("=", 1) for pair in pairs) or None
