"""The journal's writer and those who wait for it, in every order: what was acknowledged stays."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lambda_builder.builds import BuildState
from lambda_builder.errors import Refused
from lambda_builder.journal import SqliteJournal
from lambda_builder.journal.changes import Change, Verdict
from tests.journals import make_message, make_request, make_result
from tests.races.conftest import Explore
from tests.races.orders import together
from tests.races.scheduler import Scheduler


class Writers:
    """A journal, and what it said that it has."""

    def __init__(self, scheduler: Scheduler, path: Path) -> None:
        self._path, self._scheduler = path, scheduler
        self.journal = self._new()
        self.journal.open()
        self.closing = False
        self.recorded: list[int] = []
        self.refused: list[int] = []
        self.attempted: set[int] = set()
        self.ended: set[int] = set()

    def _new(self) -> SqliteJournal:
        now = lambda: self._scheduler.now  # noqa: E731
        return SqliteJournal(self._path, keep_seconds=3600.0, keep_max=100, timer=now)

    def send(self, *numbers: int) -> None:
        """Record builds, then let the first have an attempt and an end."""
        first = numbers[0]
        with suppress(Refused):
            self.journal.record([make_request(number) for number in numbers])
            self.recorded += numbers
            for number in numbers:
                assert self.journal.find(make_request(number).event_hash) is not None
            self.journal.attempt(make_request(first).event_hash, 1)
            self.attempted.add(first)
            self.journal.finish(make_result(first), [make_message(first)])
            if self.journal.flush(1000.0) and not self.closing:
                self.ended.add(first)

    def record(self, number: int) -> None:
        """Record a build."""
        try:
            self.journal.record([make_request(number)])
        except Refused:
            self.refused.append(number)
        else:
            self.recorded.append(number)

    def close(self) -> None:
        self.closing = True
        while not self.journal.close(100.0):
            pass

    def check(self) -> None:
        """Open the file again and look for all that was acknowledged."""
        journal = self._new()
        journal.open()
        left = {
            build.request.event_id: build.attempts
            for build in journal.open_builds(after_seq=0, limit=100)
        }
        for number in self.recorded:
            found = journal.find(make_request(number).event_hash)
            assert found is not None, f"{number} was acknowledged and is lost"
            assert (f"id-{number}" in left) == (found.state is BuildState.QUEUED)
            assert number not in self.ended or found.state is BuildState.CREATED
            assert number not in self.attempted or left.get(f"id-{number}", 1) == 1
        for number in self.refused:
            assert f"id-{number}" not in left, f"{number} was refused and is there"
        assert journal.outbox.pending() >= len(self.ended)
        assert journal.close(100.0)


def test_what_was_acknowledged_while_the_journal_closes_is_there_afterwards(
    in_all_orders: Explore, tmp_path: Path
) -> None:
    numbers = itertools.count()

    def scenario(scheduler: Scheduler) -> None:
        writers = Writers(scheduler, tmp_path / f"journal-{next(numbers)}.db")
        ends = [writers.close] * scheduler.rng.randint(0, 2)
        together(
            scheduler,
            lambda: writers.send(1),
            lambda: writers.send(2, 3),
            lambda: writers.send(4),
            *ends,
        )
        writers.close()
        writers.check()
        if not ends:
            assert (set(writers.recorded), writers.ended) == ({1, 2, 3, 4}, {1, 2, 4})

    in_all_orders(scenario, 40)


def test_whoever_waits_too_long_for_the_disk_is_refused_and_leaves_nothing(
    in_all_orders: Explore, tmp_path: Path
) -> None:
    numbers = itertools.count()

    def scenario(scheduler: Scheduler) -> None:
        writers = Writers(scheduler, tmp_path / f"slow-{next(numbers)}.db")
        committer = writers.journal._committer
        commit = committer.commit

        def slowly(changes: Sequence[Change]) -> Verdict:
            scheduler.wait(lambda: False, scheduler.rng.choice((0.0, 10.0, 10.0, 25.0)))
            return commit(changes)

        committer.commit = slowly  # type: ignore[method-assign]
        together(scheduler, *(functools.partial(writers.record, number) for number in range(4)))
        writers.close()
        writers.check()

    in_all_orders(scenario, 40)
