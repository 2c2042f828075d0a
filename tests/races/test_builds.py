"""Deliveries, cancels and retries of one event at once, while workers work and calls fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lambda_builder.builds import BuildRequest, BuildState
from lambda_builder.errors import Refused
from lambda_builder.journal import SqliteJournal
from lambda_builder.pipeline.pool import WorkerPool
from tests.journals import make_request, open_ids, opened
from tests.races.conftest import Explore
from tests.races.kubernetes import RUNNING, Api, Client, ended, troubles
from tests.races.orders import together
from tests.races.replica import Replica
from tests.races.scheduler import Scheduler

WITH_JOB = (BuildState.CREATED, BuildState.RUNNING, BuildState.SUCCEEDED, BuildState.FAILED)
FIRST, SECOND = make_request(1, event=b"{}"), make_request(2, event=b"{}")


class Service:
    """A replica with workers, and what was answered to those that asked it."""

    def __init__(
        self, scheduler: Scheduler, *, trouble: float, journal: SqliteJournal | None = None
    ) -> None:
        self.scheduler = scheduler
        self.api = Api(wall=lambda: scheduler.wall + scheduler.now)
        self.replica = Replica(
            self.api,
            client=Client(self.api, turn=scheduler.turn, trouble=troubles(scheduler.rng, trouble)),
            journal=journal,
            queue_size=3,
            max_attempts=2,
            clock=lambda: scheduler.now,
            rng=scheduler.rng,
        )
        self.queued: list[str] = []
        self.known: set[str] = set()
        self.cancelled: set[str] = set()
        self.retried: list[str] = []
        self.pool = WorkerPool(
            self.replica.queue,
            self.replica.attempts.run,
            self.replica.attempts.panicked,
            minimum=2,
            maximum=2,
            may_take=self.replica.health.wait_turn,
        )

    def send(self, *requests: BuildRequest) -> None:
        with suppress(Refused):
            receipts = self.replica.acceptance.accept(requests)
            self.queued += [r.request.event_hash for r in receipts if r.status == "queued"]
            self.known |= {r.request.event_hash for r in receipts}

    def cancel(self, request: BuildRequest) -> None:
        with suppress(Refused):
            result = self.replica.commands.cancel(request.job_name)
            assert result.state is BuildState.CANCELLED
            self.cancelled.add(request.event_hash)

    def retry(self, request: BuildRequest) -> None:
        with suppress(Refused):
            self.replica.commands.retry(request.job_name)
            self.retried.append(request.event_hash)

    def be_the_cluster(self) -> None:
        """Run Jobs, let them fail or be done, and let the watch show it."""
        for _ in range(3):
            self.scheduler.turn()
            for name in [*self.api.jobs]:
                kinds = (RUNNING, ended("Failed", self.scheduler.wall + self.scheduler.now))
                self.api.set_status(name, self.scheduler.rng.choice(kinds))
            self.replica.show(self.scheduler.rng.randint(0, 5))

    def stop(self) -> None:
        queue = self.replica.queue
        queue.close()
        while not queue.wait_finished(600.0):
            pass
        while self.pool.stop(60.0) or self.replica.health.stop():
            pass
        self.replica.show()

    def check(self, *requests: BuildRequest) -> None:
        """What must hold once all is done."""
        self.replica.check_counts()
        counts = self.replica.queue.snapshot()
        assert (counts.depth, counts.held) == (0, 0)
        assert self.known == set(self.queued)
        for request in requests:
            key, name = request.event_hash, request.job_name
            assert self.replica.live.get(key) is None
            state, has_job = self.replica.state_of(request), name in self.api.jobs
            assert (state is not None) == (key in self.queued)
            assert self.queued.count(key) <= 1
            # A Job whose answer was lost may be there though nobody could be told of it in time.
            assert not has_job or state in (*WITH_JOB, BuildState.DEAD), state
            # One that ended may have none: a cancel deleted it, and the answer to that was lost.
            assert has_job or state not in (BuildState.CREATED, BuildState.RUNNING), state
            assert self.api.created[name] <= 1 + self.retried.count(key)
            if key in self.cancelled:
                assert state is BuildState.CANCELLED


def test_deliveries_of_one_event_at_once_make_one_build(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        service = Service(scheduler, trouble=0.0)
        together(
            scheduler,
            lambda: service.send(FIRST),
            lambda: service.send(SECOND, FIRST),
            lambda: service.send(FIRST, SECOND),
        )
        assert sorted(service.queued) == sorted(service.known)
        assert service.replica.queue.snapshot().accepted == len(service.queued) == 2

    in_all_orders(scenario, 100)


@pytest.mark.parametrize("trouble", [0.0, 0.3])
def test_a_cancel_that_was_answered_leaves_no_job_whatever_the_worker_does(
    in_all_orders: Explore, trouble: float
) -> None:
    def scenario(scheduler: Scheduler) -> None:
        service = Service(scheduler, trouble=trouble)
        service.pool.start()
        service.send(FIRST)
        together(
            scheduler,
            lambda: service.cancel(FIRST),
            lambda: service.cancel(FIRST),
            service.be_the_cluster,
        )
        service.stop()
        service.check(FIRST)

    in_all_orders(scenario, 80)


@pytest.mark.parametrize("trouble", [0.0, 0.3])
def test_one_event_delivered_cancelled_and_retried_at_once_has_one_job_or_one_reason(
    in_all_orders: Explore, trouble: float
) -> None:
    def scenario(scheduler: Scheduler) -> None:
        service = Service(scheduler, trouble=trouble)
        service.pool.start()
        together(
            scheduler,
            lambda: service.send(FIRST),
            lambda: service.send(SECOND, FIRST),
            lambda: service.cancel(FIRST),
            lambda: service.retry(FIRST),
            service.be_the_cluster,
        )
        service.stop()
        service.check(FIRST, SECOND)
        counts = service.replica.queue.snapshot()
        assert counts.accepted == len(service.queued) + len(service.retried)

    in_all_orders(scenario, 40)


def test_what_failed_goes_again_once_however_many_ask_for_it(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        service = Service(scheduler, trouble=0.0)
        service.pool.start()
        service.send(FIRST)
        while service.replica.state_of(FIRST) is not BuildState.CREATED:
            service.replica.queue.wait_finished(1.0)
        service.api.set_status(FIRST.job_name, ended("Failed", 0.0))
        service.replica.show()
        while service.replica.state_of(FIRST) is not BuildState.FAILED:
            # Until its worker is done with it, a build is shown as its worker left it.
            service.replica.queue.wait_finished(1.0)
        together(
            scheduler,
            lambda: service.retry(FIRST),
            lambda: service.retry(FIRST),
            lambda: service.send(FIRST),
            service.replica.show,
        )
        assert len(service.retried) == 1
        service.stop()
        service.check(FIRST)
        assert service.replica.state_of(FIRST) is BuildState.CREATED

    in_all_orders(scenario, 60)


@pytest.fixture
def paths(tmp_path: Path) -> Callable[[], Path]:
    numbers = itertools.count()
    return lambda: tmp_path / f"journal-{next(numbers)}.db"


def test_what_an_earlier_process_left_is_replayed_once_while_it_is_sent_and_cancelled_again(
    in_all_orders: Explore, paths: Callable[[], Path]
) -> None:
    def scenario(scheduler: Scheduler) -> None:
        path = paths()
        with opened(path) as journal:
            journal.record([FIRST, SECOND])
        journal = SqliteJournal(path, keep_seconds=3600.0, keep_max=100)
        service = Service(scheduler, trouble=0.1, journal=journal)
        service.queued += [FIRST.event_hash, SECOND.event_hash]
        service.replica.take_over.start(journal.open)
        service.pool.start()
        together(
            scheduler,
            lambda: service.send(FIRST),
            lambda: service.send(SECOND, FIRST),
            lambda: service.cancel(FIRST),
        )
        while open_ids(journal):
            service.replica.queue.wait_finished(1.0)
            journal.flush(1.0)
        service.stop()
        while service.replica.take_over.stop(60.0):
            pass
        service.check(FIRST, SECOND)
        while not journal.flush(60.0):
            pass
        assert journal.find(FIRST.event_hash).state is service.replica.state_of(FIRST)
        assert journal.close(60.0)

    in_all_orders(scenario, 20)
