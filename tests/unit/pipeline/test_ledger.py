"""What the ledger makes of changes that meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from lambda_builder.builds import (
    SKIPPED,
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    digest_bytes,
)
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import NoJournal, OutboxMessage
from lambda_builder.kube.jobs import CreatedJob
from lambda_builder.kube.record import JobRecord
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.ledger import Ledger, turning_away
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.results import ResultStore
from tests.journals import make_request


def test_a_build_that_is_cancelled_while_it_is_taken_over_stays_cancelled() -> None:
    request, journal = make_request(1), NoJournal()
    results = ResultStore(ttl_seconds=60.0, maximum=10)

    class Meeting(LiveBuilds):
        """Has the cancel come as soon as the build can be found."""

        def add_unless(self, build: Build, known: Callable[[], bool]) -> Build | None:
            added = super().add_unless(build, known)
            assert added is build
            assert self.settle_outside(build)
            ledger.cancelled(build)
            return added

    announcer = Announcer(source="s", overrides={}, sink=True, dead_letters=False)
    announcements = Announcements(announcer, journal.outbox)
    ledger = Ledger(results, Meeting(), journal, announcements, namespace="ns")
    ledger.adopt(request, 0)
    assert results.by_event(request.event_hash).state is BuildState.CANCELLED
    told = journal.outbox.due(journal.outbox.now(), 10, "sink")
    assert [message.headers["ce-type"].rpartition(".")[2] for message in told] == ["cancelled"]


class Written(NoJournal):
    """Remembers the outcomes that are recorded, each with the types of its messages."""

    def __init__(self) -> None:
        super().__init__()
        self.finishes: list[tuple[BuildResult, list[str]]] = []
        self.reopened: list[BuildRequest] = []
        self.forgotten: list[str] = []

    def finish(self, result: BuildResult, messages: Sequence[OutboxMessage] = ()) -> None:
        self.finishes.append((result, [m.id.rpartition("-")[2] for m in messages]))

    def reopen(self, request: BuildRequest) -> bool:
        self.reopened.append(request)
        return True

    def forget(self, event_hash: str) -> None:
        self.forgotten.append(event_hash)


class Books:
    """A ledger and all that it writes to, with the build of event 1 accepted."""

    def __init__(self) -> None:
        self.results = ResultStore(ttl_seconds=60.0, maximum=10)
        self.live, self.journal = LiveBuilds(), Written()
        announcer = Announcer(source="s", overrides={}, sink=True, dead_letters=False)
        announcements = Announcements(announcer, self.journal.outbox)
        self.ledger = Ledger(
            self.results, self.live, self.journal, announcements, namespace="builds"
        )
        self.build = Build(make_request(1), attempts=2)
        self.hash = self.build.request.event_hash
        self.ledger.accepted([self.build])

    @property
    def result(self) -> BuildResult:
        found = self.results.by_event(self.hash)
        assert found is not None
        return found


@pytest.fixture
def books() -> Books:
    return Books()


JOB = CreatedJob("name", "uid-1", 1234.0, False, "")


def record(books: Books, state: BuildState, **changes: Any) -> JobRecord:
    request = books.build.request
    fields = {
        "name": request.job_name,
        "event_hash": digest_bytes(request.event_hash),
        "uid": "uid-1",
        "target": b"",
        "correlation": b"",
        "state": state,
        "created_at": 1234.0,
    }
    return JobRecord(**{**fields, **changes})


def test_what_is_accepted_waits_and_is_told(books: Books) -> None:
    assert books.result == BuildResult(request=books.build.request, state=BuildState.QUEUED)
    assert books.live.get(books.hash) is books.build
    (told,) = books.journal.outbox.due(books.journal.outbox.now(), 10, "sink")
    assert told.id.endswith("-accepted")


def test_an_attempt_and_its_failure_are_seen(books: Books) -> None:
    books.ledger.creating(books.build, "registry/image:1")
    assert books.result.but(image=None) == BuildResult(
        request=books.build.request, state=BuildState.CREATING, attempts=2
    )
    assert books.result.image == "registry/image:1"

    error = BuildError("timeout", "no answer")
    with capture_logs() as logs:
        books.ledger.retrying(books.build, error, 1.23456)
    assert books.result.state is BuildState.RETRYING
    assert (books.result.attempts, books.result.error) == (2, error)
    assert [(line["state"], line["delay_seconds"], line["attempts"]) for line in logs] == [
        ("retrying", 1.235, 2)
    ]
    assert (logs[0]["error_code"], logs[0]["error"]) == ("timeout", "no answer")

    books.ledger.creating(books.build, "registry/image:1")
    assert books.result.error is None


@pytest.mark.parametrize("created_at", [1234.0, None])
def test_a_build_with_a_job_shows_it(books: Books, created_at: float | None) -> None:
    before = time.time()
    assert books.ledger.created(books.build, replace(JOB, created_at=created_at))

    made = books.result
    assert (made.state, made.attempts, made.error) == (BuildState.CREATED, 2, None)
    assert (made.job_uid, made.namespace) == ("uid-1", "builds")
    assert made.created_at is not None
    assert made.created_at == created_at or before <= made.created_at <= time.time()
    assert books.journal.finishes == [(made, [])]
    assert books.build.future.result(0) is made
    assert books.live.get(books.hash) is None


def test_a_job_of_a_build_that_was_cancelled_is_not_told(books: Books) -> None:
    books.live.ask_to_cancel(books.build)
    assert not books.ledger.created(books.build, JOB)
    assert books.result.state is BuildState.QUEUED
    assert books.journal.finishes == []


@pytest.mark.parametrize(
    ("end", "state", "attempts", "code", "message", "told"),
    [
        ("dead", BuildState.DEAD, 2, "forbidden", "no such right", ["failed"]),
        ("abandoned", BuildState.DEAD, 2, "shutdown", "the service stopped", ["failed"]),
        ("cancelled", BuildState.CANCELLED, 0, "cancelled", "cancelled before", ["cancelled"]),
        ("skipped", BuildState.CANCELLED, 2, SKIPPED, "job other for the same", ["cancelled"]),
    ],
)
def test_a_build_that_ends_without_a_job_is_recorded_told_and_let_go(
    books: Books,
    end: str,
    state: BuildState,
    attempts: int,
    code: str,
    message: str,
    told: list[str],
) -> None:
    error = BuildError("forbidden", "no such right")
    more: dict[str, list[Any]] = {"dead": [error], "skipped": ["other"]}
    before = time.time()
    with capture_logs() as logs:
        getattr(books.ledger, end)(books.build, *more.get(end, []))
    level = "error" if state is BuildState.DEAD else "info"
    assert [(line["log_level"], line["state"]) for line in logs] == [(level, state.value)]

    ended = books.result
    assert (ended.state, ended.attempts) == (state, attempts)
    assert ended.error is not None
    assert ended.error.code == code
    assert message in ended.error.message
    assert ended.finished_at is not None
    assert before <= ended.finished_at <= time.time()
    assert books.journal.finishes == [(ended, told)]
    assert books.build.future.result(0) == ended
    assert books.build.settled
    assert books.live.get(books.hash) is None


def test_a_job_that_is_gone_unseen_ends_its_build_once(books: Books) -> None:
    books.ledger.created(books.build, JOB)
    known = books.result
    assert not books.ledger.job_missing(known.but(job_uid="uid-0"))
    assert books.result is known

    assert books.ledger.with_job() == [known]
    assert books.ledger.job_missing(known)
    assert not books.ledger.job_missing(known)

    assert books.ledger.with_job() == []
    assert books.result.state is BuildState.CANCELLED
    assert books.result.error == BuildError("cancelled", "its Job was deleted")
    assert books.result.finished_at is not None
    assert books.journal.finishes[1:] == [(books.result, ["cancelled"])]


def test_a_job_that_was_cancelled_ends_its_build(books: Books) -> None:
    books.ledger.created(books.build, JOB)
    ended = books.ledger.job_cancelled(books.result)
    assert books.result == ended
    assert ended.state is BuildState.CANCELLED
    assert books.journal.finishes[1:] == [(ended, ["cancelled"])]


def test_what_the_watch_shows_is_taken_and_only_an_end_is_recorded(books: Books) -> None:
    assert books.ledger.job_changed(record(books, BuildState.RUNNING)) is None  # it waits
    books.ledger.created(books.build, JOB)

    running = books.ledger.job_changed(record(books, BuildState.RUNNING, started_at=1300.0))
    assert running is books.result
    assert (running.state, running.started_at) == (BuildState.RUNNING, 1300.0)
    assert len(books.journal.finishes) == 1
    with capture_logs() as logs:
        again = books.ledger.job_changed(record(books, BuildState.RUNNING, started_at=1300.0))
    assert again is running
    assert logs == []

    with capture_logs() as logs:
        books.ledger.job_changed(record(books, BuildState.SUCCEEDED, finished_at=1400.0))
    assert books.result.state is BuildState.SUCCEEDED
    assert [line["state"] for line in logs] == ["succeeded"]
    assert books.journal.finishes[1:] == [(books.result, [])]


def test_a_digest_that_is_found_later_is_recorded_and_makes_no_second_line(books: Books) -> None:
    books.ledger.created(books.build, JOB)
    books.ledger.job_changed(record(books, BuildState.SUCCEEDED, finished_at=1400.0))
    with capture_logs() as logs:
        digest = "sha256:" + 64 * "a"
        books.ledger.job_changed(
            record(books, BuildState.SUCCEEDED, finished_at=1400.0, image_digest=digest)
        )
    assert books.result.image_digest == digest
    assert books.journal.finishes[-1] == (books.result, [])
    assert logs == []


def test_a_failure_that_is_explained_later_makes_a_second_line(books: Books) -> None:
    books.ledger.created(books.build, JOB)
    errors = [BuildError("job_failed", text) for text in ("it failed", "it failed; no memory")]
    with capture_logs() as logs:
        for error in errors:
            books.ledger.job_changed(record(books, BuildState.FAILED, error=error))
    assert [line["error"] for line in logs] == [error.message for error in errors]


def test_a_job_heals_a_build_that_was_declared_dead_and_that_is_recorded(books: Books) -> None:
    books.ledger.dead(books.build, BuildError("timeout", "no answer"))
    healed = books.ledger.job_changed(record(books, BuildState.RUNNING))
    assert healed is books.result
    assert healed.state is BuildState.RUNNING
    assert books.journal.finishes[1:] == [(healed, [])]


def test_the_job_of_another_event_changes_nothing(books: Books) -> None:
    books.ledger.created(books.build, JOB)
    other = digest_bytes(make_request(2).event_hash)
    assert books.ledger.job_changed(record(books, BuildState.FAILED, event_hash=other)) is None
    assert books.result.state is BuildState.CREATED


def test_a_dead_build_goes_again_once_as_a_new_one_of_its_event(books: Books) -> None:
    books.ledger.dead(books.build, BuildError("forbidden", "no"))
    dead = books.result
    with capture_logs() as logs, books.ledger.reopening(dead) as again:
        assert books.live.get(books.hash) is again
        assert books.result == dead
        assert books.journal.reopened == []
    assert again.entered
    assert (again.attempts, again.request.event_hash) == (0, books.hash)
    assert again.request.accepted_at > dead.request.accepted_at
    assert books.journal.reopened == [again.request]
    assert books.result == BuildResult(request=again.request, state=BuildState.QUEUED)
    assert [(line["state"], line["again"]) for line in logs] == [("queued", True)]

    with (
        pytest.raises(Refused, match="goes again already") as refused,
        books.ledger.reopening(dead),
    ):
        pytest.fail("let in twice")
    assert refused.value.code is RefusalCode.NOT_RETRYABLE


def test_a_build_that_may_not_go_again_stays_as_it_was(books: Books) -> None:
    books.ledger.dead(books.build, BuildError("forbidden", "no"))
    dead = books.result
    with pytest.raises(OSError, match="no room"), books.ledger.reopening(dead):
        raise OSError("no room")
    assert books.result == dead
    assert books.live.get(books.hash) is None
    assert books.journal.reopened == []


def test_a_build_that_ended_elsewhere_becomes_known_and_one_that_is_known_does_not(
    books: Books,
) -> None:
    elsewhere = BuildResult(request=make_request(2), state=BuildState.DEAD)
    books.ledger.take_over(elsewhere)
    books.ledger.take_over(elsewhere.but(attempts=9))
    assert books.results.by_event(elsewhere.request.event_hash) == elsewhere
    assert books.journal.finishes == [(elsewhere, [])]


def test_a_build_that_another_replica_took_was_never_here(books: Books) -> None:
    books.ledger.handed_off(books.build.request)
    books.ledger.handed_off(make_request(2))  # of which nothing was known
    assert books.results.by_event(books.hash) is None
    assert books.live.get(books.hash) is None
    assert books.journal.forgotten == [books.hash, make_request(2).event_hash]


@pytest.mark.parametrize("attempts", [0, 3])
def test_a_build_of_an_earlier_process_is_adopted_with_its_attempts_and_told_once(
    books: Books, attempts: int
) -> None:
    request = make_request(2)
    build = books.ledger.adopt(request, attempts)
    assert build is not None
    assert (build.attempts, build.tried, build.uncertain) == (attempts, attempts > 0, attempts > 0)
    assert books.results.by_event(request.event_hash) == BuildResult(
        request=request, state=BuildState.QUEUED, attempts=attempts
    )
    assert books.ledger.adopt(request, attempts) is build
    outbox = books.journal.outbox
    told = [message.id for message in outbox.due(outbox.now(), 10, "sink")]
    assert told.count(f"sink-{request.event_hash}-accepted") == 1
    books.ledger.cancelled(build)
    assert books.ledger.adopt(request, attempts) is None


def test_an_event_that_is_turned_away_is_known_and_told(books: Books) -> None:
    before = time.time()
    result = turning_away(make_request(2, event=b"{}"))
    books.ledger.turned_away(result)
    assert books.results.by_event(result.request.event_hash) == result
    assert (result.state, result.request.event) == (BuildState.CANCELLED, b"")
    assert result.skipped
    assert result.error is not None
    assert result.request.job_name in result.error.message
    assert result.finished_at is not None
    assert before <= result.finished_at <= time.time()
    outbox = books.journal.outbox
    told = [message.id for message in outbox.due(outbox.now(), 10, "sink")]
    assert f"sink-{result.request.event_hash}-accepted" in told
