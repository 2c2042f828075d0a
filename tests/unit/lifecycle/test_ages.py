"""How long Jobs take to start, and how long the unfinished ones have waited or run."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_builder.builds import BuildError, BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.status import SUSPENDED
from lambda_builder.kube.watcher import JobChange
from lambda_builder.lifecycle.ages import JobAges
from lambda_builder.telemetry.metrics import Metrics

CREATED, RUNNING, SUCCEEDED = BuildState.CREATED, BuildState.RUNNING, BuildState.SUCCEEDED


class Watched:
    """Tells of Jobs, one change after the other, at the times that a test wants."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.metrics = Metrics()
        self._ages = JobAges(self.metrics, clock=lambda: self.now)
        self._known: dict[str, JobRecord] = {}

    def show(self, uid: str, state: BuildState, *, at: float | None = None, **fields: Any) -> None:
        self.now = at or self.now
        times = {"created_at": 1000.0, "started_at": None if state is CREATED else 1001.0}
        record = JobRecord(uid, b"", uid, b"", b"", state, **{**times, **fields})
        previous = self._known.get(uid)
        self._known[uid] = record
        self._ages.job_changed(JobChange("changed" if previous else "appeared", record, previous))

    def oldest(self, what: str) -> float:
        value = self.metrics.registry.get_sample_value(f"build_jobs_oldest_{what}_seconds")
        assert value is not None
        return value

    def starts(self) -> tuple[float | None, float | None]:
        read = self.metrics.registry.get_sample_value
        return read("build_job_start_seconds_count"), read("build_job_start_seconds_sum")


@pytest.fixture
def jobs() -> Watched:
    return Watched()


def test_without_jobs_nothing_waits_and_nothing_runs(jobs: Watched) -> None:
    assert (jobs.oldest("pending"), jobs.oldest("running"), jobs.starts()) == (0, 0, (0, 0))


def test_a_job_waits_until_its_pod_runs_and_runs_until_it_ends(jobs: Watched) -> None:
    jobs.show("a", CREATED)
    jobs.now = 1007.0
    assert (jobs.oldest("pending"), jobs.oldest("running")) == (7, 0)
    jobs.show("a", RUNNING, at=1008.0)
    jobs.now = 1010.0
    assert (jobs.oldest("pending"), jobs.oldest("running")) == (0, 2)
    assert jobs.starts() == (1, 8)
    jobs.show("a", RUNNING, at=1015.0, announced="started")
    assert jobs.oldest("running") == 7
    jobs.show("a", SUCCEEDED, at=1020.0)
    assert jobs.oldest("running") == 0
    assert jobs.starts() == (1, 8)


def test_the_oldest_of_several_jobs_is_told(jobs: Watched) -> None:
    jobs.show("a", CREATED)
    jobs.show("b", CREATED, at=1060.0, created_at=1060.0)
    jobs.show("a", RUNNING, at=1070.0)
    assert (jobs.oldest("pending"), jobs.oldest("running")) == (10, 0)


def test_jobs_from_before_the_start_have_their_own_times_and_count_no_start(jobs: Watched) -> None:
    jobs.show("a", CREATED, at=1500.0)
    jobs.show("b", RUNNING)
    assert (jobs.oldest("pending"), jobs.oldest("running")) == (500, 499)
    assert jobs.starts() == (0, 0)


def test_a_suspended_job_waits_only_from_when_it_was_let_go(jobs: Watched) -> None:
    jobs.show("a", CREATED, error=BuildError(SUSPENDED, "held"))
    jobs.now = 1100.0
    assert jobs.oldest("pending") == 0
    jobs.show("a", CREATED, at=1100.0)
    jobs.now = 1130.0
    assert jobs.oldest("pending") == 30


def test_a_job_whose_pod_is_replaced_waits_from_then_on_and_started_once(jobs: Watched) -> None:
    jobs.show("a", CREATED)
    jobs.show("a", RUNNING, at=1003.0)
    jobs.show("a", CREATED, at=2000.0)
    jobs.now = 2010.0
    assert (jobs.oldest("pending"), jobs.oldest("running")) == (10, 0)
    jobs.show("a", RUNNING, at=2015.0)
    jobs.now = 2020.0
    assert (jobs.oldest("pending"), jobs.oldest("running")) == (0, 5)
    assert jobs.starts() == (1, 3)


def test_a_job_that_fails_or_is_deleted_waits_no_more_and_never_started(jobs: Watched) -> None:
    for uid, state in (("a", BuildState.FAILED), ("b", BuildState.CANCELLED)):
        jobs.show(uid, CREATED)
        jobs.show(uid, state, at=1100.0)
    assert jobs.oldest("pending") == 0
    assert jobs.starts() == (0, 0)


def test_a_clock_that_is_behind_the_apis_gives_no_negative_ages(jobs: Watched) -> None:
    jobs.show("a", CREATED, created_at=1005.0)
    assert jobs.oldest("pending") == 0
    jobs.show("a", RUNNING, created_at=1005.0)
    assert jobs.starts() == (1, 0)
