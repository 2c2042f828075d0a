"""``lambda-builder send``: events sent, each until it is accepted or refused for good."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lambda_builder.cli.connection import Service, connected, failure_of
from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import console, data, names, pairs
from lambda_builder.cli.reading import Event, event_of, events_of
from lambda_builder.cli.watching import not_built
from lambda_builder.client import (
    Accepted,
    Build,
    Client,
    ClientError,
    NotTheService,
    Problem,
    StillGoing,
    Unreachable,
)


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
    run = _Run(service, events, parallel, rate, patience)
    run.send()
    built = run.wait(timeout) if wait and run.accepted else []
    run.show(built)
    if run.failures:
        raise run.failures[-1]
    failed = [build for build in built if not build.succeeded]
    if len(built) == 1 and failed:
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


@dataclass
class _Run:
    """One run of the command. ``send`` lets threads work; all else is for the caller's."""

    service: Service
    events: list[tuple[int, Event]]
    parallel: int
    rate: float | None
    patience: float
    accepted: list[Accepted] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _hopeless: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        """Send everything; nothing more once nobody is there, or lets us in."""
        with self._client() as client, self._progress("sent", len(self.events)) as progress:

            def one(number: int, event: Event) -> None:
                if not self._hopeless.is_set():
                    self._send(client, number, event)
                progress.advance(progress.task_ids[0])

            with ThreadPoolExecutor(self.parallel) as pool:
                try:
                    for number, event in self._paced():
                        pool.submit(one, number, event)
                except KeyboardInterrupt:
                    self._hopeless.set()
                    client.close()
                    raise
        self.seconds = time.monotonic() - self.begun

    def _paced(self) -> Iterator[tuple[int, Event]]:
        for place, (number, event) in enumerate(self.events):
            due = self.begun + place / self.rate if self.rate else 0.0
            if (early := due - time.monotonic()) > 0 and self._hopeless.wait(early):
                return
            yield number, event

    def _send(self, client: Client, number: int, event: Event) -> None:
        try:
            accepted = client.send(event)
        except ClientError as error:
            self._failed(number, event, error)
            return
        with self._lock:
            self.accepted.append(accepted)
            self.counts[accepted.status] += 1

    def _failed(self, number: int, event: Event, error: ClientError) -> None:
        failure = failure_of(error)
        if len(self.events) > 1:
            told = f"event {number} ({event['id']}): {failure.message}"
            failure = Failure(told, Exit(failure.exit_code))
        with self._lock:
            for earlier in self.failures[-1:]:
                earlier.show()
            self.failures.append(failure)
            self.counts[error.code if isinstance(error, Problem) else "no answer"] += 1
        if isinstance(error, Unreachable | NotTheService) or failure.exit_code == Exit.DENIED:
            self._hopeless.set()

    def _client(self) -> Client:
        return self.service.client(patience=self.patience, on_wait=self._on_wait)

    def _on_wait(self, error: ClientError, seconds: float) -> None:
        with self._lock:
            self.counts["sent again"] += 1
            told = self.counts["sent again"]
        if told == 1 or len(self.events) == 1:
            code = error.code if isinstance(error, Problem) else str(error)
            click.echo(f"{code}: sent again in {seconds:.1f} s", err=True)

    # -- the builds ----------------------------------------------------------------------------

    def wait(self, timeout: float | None) -> list[Build]:
        """Wait until all that was accepted has ended; raises ``StillGoing``."""
        jobs = list(dict.fromkeys(each.job_name for each in self.accepted if each.job_name))
        until = None if timeout is None else time.monotonic() + timeout
        built: list[Build] = []
        with self._client() as client, self._progress("built", len(jobs)) as progress:
            for job in jobs:
                left = None if until is None else max(0.0, until - time.monotonic())
                try:
                    built.append(client.wait(job, left))
                except StillGoing as error:
                    told = f"{error}".partition(" after ")[0]
                    raise StillGoing(f"{told} after {timeout:g} seconds") from error
                progress.advance(progress.task_ids[0])
        return built

    # -- what is shown -------------------------------------------------------------------------

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Progress]:
        out = console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        shown = out.is_terminal and total > 1
        with Progress(*columns, TimeElapsedColumn(), console=out, disable=not shown) as progress:
            progress.add_task(what, total=total)
            yield progress

    def show(self, built: Sequence[Build]) -> None:
        """Print the answers, or the builds that came of them, and of many a summary."""
        printer, one = self.service.printer, len(self.events) == 1
        told: list[Any] = [build.raw for build in built] or [asdict(each) for each in self.accepted]
        if printer.wanted == "name":
            names(each["job_name"] for each in told if each["job_name"])
        elif one and told:
            rows = {name: str(value) for name, value in told[0].items() if value is not None}
            printer.build(told[0]) if built else printer.thing(told[0], rows)
        elif printer.wanted in ("json", "yaml"):
            data(told, printer.wanted)
        if not one:
            self._summary(built)

    def _summary(self, built: Sequence[Build]) -> None:
        rows = {"events": f"{len(self.events):,} in {self.seconds:,.1f} s"}
        unsent = len(self.events) - len(self.accepted) - len(self.failures)
        rows |= {name.replace("_", " "): f"{number:,}" for name, number in self.counts.items()}
        if unsent:
            rows["not sent"] = f"{unsent:,}"
        rows |= {s: f"{n:,}" for s, n in Counter(build.state.value for build in built).items()}
        console(stderr=True).print(pairs(dict(rows)))
