"""What follows from how an attempt went: how often, when and with which words it is made again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lambda_builder.builds import BuildError, BuildRequest, BuildResult, BuildState
from lambda_builder.errors import (
    FailureReason,
    NotSent,
    Permanent,
    RefusalCode,
    Refused,
    Transient,
    Unreachable,
)
from lambda_builder.journal import Claim, NoJournal, OpenBuild
from lambda_builder.kube.jobs import CreatedJob
from lambda_builder.kube.labels import ANNOTATIONS
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.acceptance import entry_for
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.attempts import Attempts
from lambda_builder.pipeline.capacity import Capacity
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.pool import WorkerDied
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.runner import TargetBusy
from lambda_builder.pipeline.stats import Counts
from lambda_builder.telemetry.metrics import Metrics
from tests.journals import make_request

JOB = CreatedJob("name", "uid-1", 1234.0, False, "")
NOW = 1000.0


class Longest(random.Random):
    """Leaves nothing to chance: every pause is as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Journal(NoJournal):
    """Remembers the attempts."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[int] = []
        self.taken_back: list[tuple[int, bool]] = []
        self.claim = Claim.GRANTED
        self.own: OpenBuild | None = None
        self.refuses = False

    def attempt(self, event_hash: str, attempts: int) -> Claim:
        if self.refuses:
            raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "disk full")
        self.attempts.append(attempts)
        return self.claim

    def take(self, event_hash: str, *, from_others: bool) -> OpenBuild | None:
        assert from_others
        return self.own

    def take_back_attempt(self, event_hash: str, attempts: int, *, has_job: bool) -> None:
        self.taken_back.append((attempts, has_job))
        if [attempts] != self.attempts[-1:]:
            self.attempts.append(attempts)


class Runner:
    """Raises, or returns a Job, as it is told."""

    def __init__(self) -> None:
        self.raises: Exception | None = None
        self.found: CreatedJob | Exception | None = None
        self.calls: list[str] = []

    def render(self, request: BuildRequest) -> dict[str, Any]:
        return {"metadata": {"annotations": {ANNOTATIONS["image"]: "registry/image:1"}}}

    def create(self, request: BuildRequest, manifest: dict[str, Any]) -> CreatedJob:
        assert manifest == self.render(request)
        self.calls.append("create")
        if self.raises:
            raise self.raises
        return JOB

    def look(self, request: BuildRequest) -> CreatedJob | None:
        self.calls.append("look")
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def remove(self, request: BuildRequest) -> bool:
        self.calls.append("remove")
        return True


class Health:
    """Counts what it is told; ``there`` is what a probe finds."""

    def __init__(self) -> None:
        self.there = True
        self.told: list[Any] = []

    def report_success(self) -> None:
        self.told.append("success")

    def report_unreachable(self) -> bool:
        self.told.append("unreachable")
        return self.there

    def report_throttled(self, retry_after: float | None) -> None:
        self.told.append(retry_after)


class Worker:
    """One build that a worker holds, and everything around its attempts; three are allowed."""

    def __init__(self) -> None:
        self.queue: BuildQueue[Build] = BuildQueue(10, clock=lambda: NOW)
        self.live, self.journal = LiveBuilds(), Journal()
        self.runner, self.health, self.counts = Runner(), Health(), Counts()
        self.capacity, self.metrics = Capacity(clock=lambda: NOW), Metrics()
        self.results = ResultStore(ttl_seconds=60.0, maximum=10)
        announcer = Announcer(source="s", overrides={}, sink=False, dead_letters=False)
        announcements = Announcements(announcer, self.journal.outbox)
        ledger = Ledger(self.results, self.live, self.journal, announcements, namespace="builds")
        self.created: list[CreatedJob] = []
        self.tell: Callable[[CreatedJob], None] = self.created.append
        self.attempts = Attempts(
            self.queue,
            ledger,
            self.live,
            self.journal,
            self.runner,  # type: ignore[arg-type]
            self.health,  # type: ignore[arg-type]
            self.capacity,
            self.metrics,
            self.counts,
            max_attempts=3,
            retry_base_seconds=2.0,
            retry_max_seconds=60.0,
            on_created=lambda job: self.tell(job),
            rng=Longest(),
        )
        self.build = Build(make_request(1))
        ledger.accepted([self.build])
        self.queue.put(entry_for(self.build))
        self.entry: Entry[Build] = self.queue.get(block=False)

    def run(self, raises: Exception | None = None, *, before: int = 0) -> bool:
        """Make an attempt after ``before`` others; ``raises`` is what the API has to say."""
        self.build.attempts, self.build.tried = before, before > 0
        self.runner.raises = raises
        return self.attempts.run(self.entry)

    @property
    def result(self) -> BuildResult:
        (result,) = self.results.all()
        return result

    @property
    def delay(self) -> float | None:
        """In how many seconds the build is tried again; None where it is not."""
        return None if self.queue.snapshot().depth == 0 else self.entry.ready_at - NOW

    @property
    def outcomes(self) -> dict[str, int]:
        return self.queue.snapshot().outcomes

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_an_attempt_that_goes_well_ends_the_build(worker: Worker) -> None:
    assert worker.run()
    assert worker.outcomes == {"created": 1}
    assert (worker.result.state, worker.result.attempts) == (BuildState.CREATED, 1)
    assert worker.result.image == "registry/image:1"
    assert worker.created == [JOB]
    assert worker.journal.attempts == [1]
    assert worker.health.told == ["success"]
    assert worker.delay is None
    for name in ("queue_wait", "processing_duration", "creation_delay"):
        assert worker.metric(f"async_job_{name}_seconds_count") == 1
    waited = worker.metric("async_job_queue_wait_seconds_sum")
    assert waited > 1e6  # the event of the test is of 2023
    assert worker.metric("async_job_creation_delay_seconds_sum") == pytest.approx(waited, abs=60)
    assert worker.metric("async_job_processing_duration_seconds_sum") < 60


def test_the_wait_in_the_queue_ends_with_the_first_attempt(worker: Worker) -> None:
    worker.run(before=1)
    assert worker.journal.attempts == [2]
    assert worker.metric("async_job_queue_wait_seconds_count") == 0


def test_a_build_has_ended_well_though_nobody_can_be_told(worker: Worker) -> None:
    def fail(job: CreatedJob) -> None:
        raise RuntimeError(job.name)

    worker.tell = fail
    assert worker.run()
    assert worker.outcomes == {"created": 1}


def test_another_events_job_for_the_target_has_the_build_skipped(worker: Worker) -> None:
    assert worker.run(TargetBusy("other"))
    assert worker.outcomes == {"skipped": 1}
    assert worker.result.skipped
    assert worker.health.told == ["success"]


@pytest.mark.parametrize(("before", "delay"), [(0, 2.0), (1, 4.0)])
def test_a_failure_that_may_pass_is_tried_again_after_a_pause_that_doubles(
    worker: Worker, before: int, delay: float
) -> None:
    error = Transient(FailureReason.SERVER_ERROR, "500")
    assert not worker.run(error, before=before)
    assert worker.delay == delay
    assert worker.result.state is BuildState.RETRYING
    assert worker.result.error == BuildError("server_error", "500")
    assert worker.result.attempts == before + 1
    assert worker.counts.snapshot()["retried"] == {"server_error": 1}
    assert worker.metric("async_worker_errors_total", reason="server_error") == 1
    assert worker.build.uncertain


def test_the_api_is_given_the_time_it_asks_for(worker: Worker) -> None:
    worker.run(Transient(FailureReason.WEBHOOK_UNAVAILABLE, "503", retry_after=7.0))
    assert worker.delay == 9.0
    assert not worker.build.uncertain


def test_the_last_failure_is_the_end(worker: Worker) -> None:
    assert not worker.run(Transient(FailureReason.WEBHOOK_UNAVAILABLE, "503"), before=2)
    assert worker.outcomes == {"dead": 1}
    assert worker.result.error == BuildError("webhook_unavailable", "gave up after 3 attempts: 503")
    assert worker.runner.calls == ["create"]


@pytest.mark.parametrize(
    ("found", "outcome"),
    [(JOB, "created"), (None, "dead"), (Permanent(FailureReason.FORBIDDEN, "no"), "dead")],
)
def test_a_last_failure_that_may_have_made_the_job_is_looked_into(
    worker: Worker, found: CreatedJob | Exception | None, outcome: str
) -> None:
    worker.runner.found = found
    worker.run(Transient(FailureReason.TIMEOUT, "no answer"), before=2)
    assert worker.runner.calls == ["create", "look"]
    assert worker.outcomes == {outcome: 1}
    assert worker.result.state.value == outcome
    assert worker.created == ([JOB] if outcome == "created" else [])


def test_a_call_that_was_not_sent_costs_no_attempt_and_waits_a_second(worker: Worker) -> None:
    assert not worker.run(NotSent(FailureReason.CONNECTION, "ending"), before=2)
    assert worker.delay == 1.0
    assert (worker.build.attempts, worker.build.tried) == (2, True)
    assert worker.journal.attempts == [3, 2]
    assert worker.health.told == []
    assert not worker.build.uncertain


def test_an_outage_costs_no_attempt_and_no_delay(worker: Worker) -> None:
    worker.health.there = False
    assert not worker.run(Unreachable(FailureReason.CONNECTION, "refused"), before=2)
    assert worker.delay == 0.0
    assert (worker.build.attempts, worker.build.tried) == (2, True)
    assert worker.journal.attempts == [3, 2]
    assert worker.health.told == ["unreachable"]
    assert worker.counts.snapshot()["retried"] == {"connection": 1}
    assert worker.metric("async_worker_errors_total", reason="connection") == 0


def test_no_answer_of_an_api_that_is_there_costs_an_attempt(worker: Worker) -> None:
    worker.run(Unreachable(FailureReason.TIMEOUT, "no answer"), before=1)
    assert worker.delay == 4.0
    assert worker.build.attempts == 2


@pytest.mark.parametrize(("asked", "delay"), [(7.0, 15.0), (None, 8.0)])
def test_too_many_calls_cost_no_attempt_and_the_time_that_is_asked_for(
    worker: Worker, asked: float | None, delay: float
) -> None:
    error = Transient(FailureReason.RATE_LIMITED, "429", retry_after=asked)
    assert not worker.run(error, before=2)
    assert worker.delay == delay
    assert worker.health.told == [asked]
    assert (worker.build.attempts, worker.build.tried) == (2, True)
    assert worker.journal.attempts == [3, 2]
    assert worker.metric("async_worker_errors_total", reason="rate_limited") == 1
    assert worker.counts.snapshot()["retried"] == {"rate_limited": 1}
    assert not worker.capacity.blocked


def test_a_full_quota_holds_the_workers_and_the_build_was_never_tried(worker: Worker) -> None:
    message = "forbidden: exceeded quota: jobs-quota, requested: count/jobs.batch=1"
    assert not worker.run(Transient(FailureReason.QUOTA_EXCEEDED, message))
    assert worker.delay == 0.0
    assert worker.capacity.blocked
    assert worker.capacity._quota == "jobs-quota"
    assert (worker.build.attempts, worker.build.tried) == (0, False)
    assert worker.journal.attempts == [1, 0]
    assert worker.metric("async_worker_errors_total", reason="quota_exceeded") == 1

    for _ in range(5):  # so many in a row let all go on
        assert worker.capacity.blocked
        worker.capacity.admitted()
    assert not worker.capacity.blocked


def test_a_quota_without_a_name_holds_the_workers_too(worker: Worker) -> None:
    worker.run(Transient(FailureReason.QUOTA_EXCEEDED, "too much"))
    assert worker.capacity._quota == ""


def test_a_failure_for_good_is_the_end_at_once(worker: Worker) -> None:
    assert not worker.run(Permanent(FailureReason.FORBIDDEN, "no such right"))
    assert worker.outcomes == {"dead": 1}
    assert worker.result.error == BuildError("forbidden", "no such right")
    assert worker.metric("async_worker_errors_total", reason="forbidden") == 1


def test_an_attempt_that_cannot_be_recorded_is_not_made(worker: Worker) -> None:
    worker.journal.refuses = True
    assert not worker.run()
    assert worker.runner.calls == []
    assert worker.delay == 1.0
    assert worker.build.attempts == 0
    assert worker.counts.snapshot()["retried"] == {}


def test_an_attempt_that_cannot_be_taken_back_on_the_disk_is_none_all_the_same(
    worker: Worker,
) -> None:
    def fill_the_disk(request: BuildRequest, manifest: object) -> CreatedJob:
        worker.journal.refuses = True
        raise NotSent(FailureReason.CONNECTION, "ending")

    worker.runner.create = fill_the_disk  # type: ignore[method-assign]
    assert not worker.run()
    assert (worker.build.attempts, worker.delay) == (0, 1.0)


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_cancelled_build_is_not_tried_and_a_job_that_may_be_there_goes(
    worker: Worker, uncertain: bool
) -> None:
    worker.live.ask_to_cancel(worker.build)
    worker.build.uncertain = uncertain
    assert worker.run()
    assert worker.runner.calls == (["remove"] if uncertain else [])
    assert worker.health.told == (["success"] if uncertain else [])
    assert worker.outcomes == {"cancelled": 1}
    assert worker.result.state is BuildState.CANCELLED


@pytest.mark.parametrize(
    ("error", "calls", "outcomes"),
    [
        (None, ["create", "remove"], {"cancelled": 1}),
        (Transient(FailureReason.WEBHOOK_UNAVAILABLE, "503"), ["create"], {"cancelled": 1}),
        (Transient(FailureReason.SERVER_ERROR, "500"), ["create"], {}),
    ],
)
def test_a_cancel_during_the_attempt_leaves_no_job(
    worker: Worker, error: Exception | None, calls: list[str], outcomes: dict[str, int]
) -> None:
    create = worker.runner.create

    def cancel_meanwhile(request: BuildRequest, manifest: dict[str, Any]) -> CreatedJob:
        worker.live.ask_to_cancel(worker.build)
        return create(request, manifest)

    worker.runner.create = cancel_meanwhile  # type: ignore[method-assign]
    worker.run(error, before=2)
    assert worker.runner.calls == calls
    assert worker.outcomes == outcomes
    assert worker.created == []
    assert outcomes or worker.delay is not None  # where it is unclear it has to be looked into


@pytest.mark.parametrize(
    ("found", "outcome"), [(JOB, "created"), (None, "dead"), (Transient, "dead")]
)
def test_a_build_whose_job_may_not_be_deleted_has_it(
    worker: Worker, found: Any, outcome: str
) -> None:
    def refuse(request: BuildRequest) -> bool:
        raise Permanent(FailureReason.FORBIDDEN, "may not delete")

    worker.runner.remove = refuse  # type: ignore[method-assign]
    worker.runner.found = Transient(FailureReason.TIMEOUT, "no") if found is Transient else found
    worker.live.ask_to_cancel(worker.build)
    worker.build.uncertain = True
    assert not worker.run()
    assert worker.outcomes == {outcome: 1}
    assert not worker.build.cancelled


@pytest.mark.parametrize(("found", "outcome"), [(JOB, "created"), (None, "dead")])
def test_a_build_whose_attempts_all_killed_the_process_is_looked_for_and_not_tried(
    worker: Worker, found: CreatedJob | None, outcome: str
) -> None:
    worker.runner.found = found
    assert worker.run(before=3)
    assert worker.runner.calls == ["look"]
    assert worker.outcomes == {outcome: 1}
    if found is None:
        assert worker.result.error == BuildError("panic", "the process died in each of 3 attempts")


@pytest.mark.parametrize(
    ("error", "attempts", "delay"),
    [
        (WorkerDied("gone"), 1, 2.0),
        (WorkerDied("gone"), 2, 4.0),
        (WorkerDied("gone"), 3, None),
        (ValueError("gone"), 1, None),
    ],
)
def test_a_panic_is_the_end_but_a_thread_that_died_is_given_its_attempts(
    worker: Worker, error: Exception, attempts: int, delay: float | None
) -> None:
    worker.build.attempts = attempts
    worker.attempts.panicked(worker.entry, error)
    expected = BuildError("panic", f"unexpected {type(error).__name__}: gone")
    assert worker.delay == delay
    assert worker.result.error == expected
    assert worker.outcomes == ({"dead": 1} if delay is None else {})
    assert worker.counts.snapshot()["panics"] == {"": 1}
    assert worker.counts.snapshot()["retried"] == ({} if delay is None else {"panic": 1})
    assert worker.metric("async_worker_errors_total", reason="panic") == 1


def test_a_build_that_is_anothers_by_now_gets_no_job_and_is_known_here_no_more() -> None:
    worker = Worker()
    worker.journal.claim = Claim.MOVED
    assert not worker.run()
    assert worker.runner.calls == []
    assert worker.queue.snapshot().accepted == 0
    assert worker.queue.unfinished() == []
    assert worker.results.all() == []
    assert worker.live.get(worker.build.request.event_hash) is None


def test_without_room_for_one_more_job_a_build_waits_at_its_place_and_costs_no_attempt() -> None:
    worker = Worker()
    worker.journal.claim = Claim.NO_ROOM
    assert not worker.run()
    assert worker.runner.calls == []
    assert worker.build.attempts == 0
    assert worker.queue.snapshot().waiting == 1


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("claim", [Claim.MOVED, Claim.GRANTED])
def test_a_cancel_holds_of_a_build_that_moved_unless_it_has_ended_elsewhere(
    claim: Claim, is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker()
    monkeypatch.setattr(Journal, "shared", True)
    worker.journal.claim = claim
    worker.journal.own = OpenBuild(1, worker.build.request, 0) if is_own else None
    if claim is Claim.MOVED:  # marked once the worker has it in hand
        monkeypatch.setattr(
            worker.journal, "attempt", lambda *_: worker.live.ask_to_cancel(worker.build) and claim
        )
    else:
        worker.live.ask_to_cancel(worker.build)
    worker.run()
    assert worker.runner.calls == []
    assert worker.outcomes == ({"cancelled": 1} if is_own else {})
    assert worker.queue.unfinished() == []
