"""Events on their way: sent, counted, waited for, and summed up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lambda_builder.cli.connection import Service, failure_of
from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import console, data, names, pairs
from lambda_builder.cli.reading import Event
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


@dataclass
class Deliveries:
    """What one command sends. ``send`` lets threads work; all else is for the caller's."""

    service: Service
    events: list[tuple[int, Event]]
    parallel: int
    rate: float | None
    patience: float
    accepted: list[Accepted] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    built: list[Build] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _hopeless: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        """Send everything; nothing more once nobody is there, or lets us in, or at Ctrl-C."""
        with self._client() as client, self._progress("sent", len(self.events)) as progress:

            def one(numbered: tuple[int, Event]) -> None:
                if not self._hopeless.is_set():
                    self._send(client, *numbered)
                progress.advance(progress.task_ids[0])

            pool = ThreadPoolExecutor(self.parallel)
            try:
                for _ in pool.map(one, self._paced()):
                    pass
            except KeyboardInterrupt:
                self._hopeless.set()
                client.close()
                raise
            finally:
                # Not by ``with``, which would first let all the others be sent.
                pool.shutdown(cancel_futures=True)
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

    def wait(self, timeout: float | None) -> None:
        """Wait until all that was accepted has ended; raises ``StillGoing``."""
        jobs = list(dict.fromkeys(each.job_name for each in self.accepted if each.job_name))
        until = None if timeout is None else time.monotonic() + timeout
        with self._client() as client, self._progress("built", len(jobs)) as progress:
            for job in jobs:
                left = None if until is None else max(0.0, until - time.monotonic())
                try:
                    self.built.append(client.wait(job, left))
                except StillGoing as error:
                    told = f"{error}".partition(" after ")[0]
                    raise StillGoing(f"{told} after {timeout:g} seconds") from error
                progress.advance(progress.task_ids[0])

    # -- what is shown -------------------------------------------------------------------------

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Progress]:
        out = console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        shown = out.is_terminal and total > 1
        with Progress(*columns, TimeElapsedColumn(), console=out, disable=not shown) as progress:
            progress.add_task(what, total=total)
            yield progress

    def show(self) -> None:
        """Print the answers, or the builds that came of them, and of many a summary."""
        printer, one = self.service.printer, len(self.events) == 1
        told: list[Any] = [build.raw for build in self.built] or [
            asdict(each) for each in self.accepted
        ]
        if printer.wanted == "name":
            names(each["job_name"] for each in told if each["job_name"])
        elif one and told:
            rows = {name: str(value) for name, value in told[0].items() if value is not None}
            printer.build(told[0]) if self.built else printer.thing(told[0], rows)
        elif printer.wanted in ("json", "yaml"):
            data(told, printer.wanted)
        if not one:
            self._summary()

    def _summary(self) -> None:
        rows = {"events": f"{len(self.events):,} in {self.seconds:,.1f} s"}
        unsent = len(self.events) - len(self.accepted) - len(self.failures)
        rows |= {name.replace("_", " "): f"{number:,}" for name, number in self.counts.items()}
        if unsent:
            rows["not sent"] = f"{unsent:,}"
        rows |= {s: f"{n:,}" for s, n in Counter(build.state.value for build in self.built).items()}
        console(stderr=True).print(pairs(dict(rows)))
