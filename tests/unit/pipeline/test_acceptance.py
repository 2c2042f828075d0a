"""How each delivery of an event is answered, and what a refusal leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from lambda_builder.builds import BuildError, BuildRequest, BuildResult, BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import NoJournal
from lambda_builder.journal.recordings import Recorded
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.acceptance import Acceptance, Receipt
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.stats import Counts
from tests.journals import make_request


class Journal(NoJournal):
    """Remembers what is recorded, or refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[tuple[list[BuildRequest], list[BuildResult]]] = []
        self.refuses = False

    def recording(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> Recorded:
        if self.refuses:
            raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "disk full")
        self.recorded.append(([*requests], [*turned_away]))
        return super().recording(requests, turned_away)


class Intake:
    """What accepts events, with room for three builds and 1000 bytes of events."""

    def __init__(self, **options: Any) -> None:
        self.queue: BuildQueue[Build] = BuildQueue(3, max_bytes=1000)
        self.results = ResultStore(ttl_seconds=60.0, maximum=10)
        self.live, self.journal, self.counts = LiveBuilds(), Journal(), Counts()
        announcer = Announcer(source="s", overrides={}, sink=False, dead_letters=False)
        announcements = Announcements(announcer, self.journal.outbox)
        self.ledger = Ledger(
            self.results, self.live, self.journal, announcements, namespace="builds"
        )
        self.acceptance = Acceptance(
            self.queue,
            self.ledger,
            self.live,
            self.results,
            self.journal,
            self.counts,
            **options,
        )

    def accept(self, *numbers: int, **changes: Any) -> list[Receipt]:
        return self.acceptance.accept([make_request(number, **changes) for number in numbers])

    def refused(self, *numbers: int, **changes: Any) -> Refused:
        with pytest.raises(Refused) as refused:
            self.accept(*numbers, **changes)
        return refused.value


def test_a_new_event_is_recorded_and_queued() -> None:
    intake = Intake()
    receipts = intake.accept(1, 2)
    assert [(r.status, r.request.event_id, r.queue_size, r.state) for r in receipts] == [
        ("queued", "id-1", 2, BuildState.QUEUED),
        ("queued", "id-2", 2, BuildState.QUEUED),
    ]
    assert intake.journal.recorded == [([make_request(1), make_request(2)], [])]
    for receipt in receipts:
        entry = intake.queue.get(block=False)
        assert entry.key == receipt.request.event_hash
        assert entry.item.future is receipt.future
        assert entry.item.entered


def test_a_known_event_is_a_duplicate_and_waits_for_the_same_build() -> None:
    intake = Intake()
    (first,) = intake.accept(1)
    (again,) = intake.accept(1)
    assert (again.status, again.state, again.queue_size) == ("duplicate", BuildState.QUEUED, 1)
    assert again.future is first.future
    assert intake.counts.snapshot()["duplicates"] == {"": 1}
    assert len(intake.journal.recorded) == 1


def test_an_event_whose_build_has_ended_is_answered_with_the_end() -> None:
    intake = Intake()
    intake.accept(1)
    build = intake.live.get(make_request(1).event_hash)
    assert build is not None
    intake.ledger.dead(build, BuildError("forbidden", "no"))
    (again,) = intake.accept(1)
    assert (again.status, again.state) == ("duplicate", BuildState.DEAD)
    assert again.future.result(0).error == BuildError("forbidden", "no")


def test_an_event_that_comes_twice_in_a_batch_is_built_once() -> None:
    intake = Intake()
    first, second, third = intake.accept(1, 1, 2)
    assert [r.status for r in (first, second, third)] == ["queued", "duplicate", "queued"]
    assert second.future is first.future
    assert intake.queue.qsize() == 2
    assert intake.counts.snapshot()["duplicates"] == {"": 1}


def test_an_event_that_another_replicas_job_shows_is_a_duplicate() -> None:
    shown = BuildResult(request=make_request(1), state=BuildState.RUNNING)
    intake = Intake(job_of=lambda request: shown if request == make_request(1) else None)
    first, second = intake.accept(1, 2)
    assert (first.status, first.state, first.request) == (
        "duplicate",
        BuildState.RUNNING,
        shown.request,
    )
    assert first.future.result(0) is shown
    assert second.status == "queued"


def test_with_one_event_per_target_the_active_job_answers() -> None:
    asked: list[BuildRequest] = []

    def active(request: BuildRequest) -> str | None:
        asked.append(request)
        return "active-job" if request.parser_id == "busy" else None

    intake = Intake(active_job=active)
    (receipt,) = intake.accept(1, parser_id="busy")
    assert (receipt.status, receipt.request.job_name) == ("skipped", "active-job")
    assert receipt.state is BuildState.CREATED
    assert asked == [make_request(1, parser_id="busy")]
    ((recorded, turned_away),) = intake.journal.recorded
    assert recorded == []
    assert [result.request.job_name for result in turned_away] == ["active-job"]
    assert intake.queue.qsize() == 0
    assert intake.queue.snapshot().outcomes == {"skipped": 1}
    assert intake.results.by_event(receipt.request.event_hash) == turned_away[0]


def test_with_one_event_per_target_a_build_that_waits_has_its_target_and_no_other() -> None:
    intake = Intake(active_job=lambda _request: None)
    statuses = [
        intake.accept(number, third_party_id=third_party, parser_id=parser)[0].status
        for number, (third_party, parser) in enumerate([*map(tuple, ("ab", "ab", "ax", "xb"))])
    ]
    assert statuses == ["queued", "skipped", "queued", "queued"]


def test_without_that_wish_every_event_of_a_target_is_built() -> None:
    intake = Intake()
    assert [receipt.status for receipt in intake.accept(1, 2)] == ["queued", "queued"]


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    intake = Intake()
    intake.accept(1, 2)
    refused = intake.refused(3, 4)
    assert refused.code is RefusalCode.QUEUE_FULL
    assert "2 builds wait" in refused.detail
    assert refused.retry_after == 60
    assert intake.results.by_event(make_request(3).event_hash) is None
    assert [receipt.status for receipt in intake.accept(3)] == ["queued"]


def test_a_batch_larger_than_the_queue_can_never_be_taken() -> None:
    intake = Intake()
    refused = intake.refused(1, 2, 3, 4)
    assert refused.code is RefusalCode.INVALID_BATCH
    assert refused.detail == (
        "batch of 4 events can never fit the queue of 3; send smaller batches or raise QUEUE_SIZE"
    )


def test_a_queue_that_is_closed_refuses_and_names_other_replicas() -> None:
    intake = Intake()
    intake.queue.close()
    refused = intake.refused(1)
    assert (refused.code, refused.retry_after) == (RefusalCode.SHUTTING_DOWN, 5)
    assert "another replica" in refused.detail


def test_an_event_that_cannot_be_recorded_leaves_its_room_to_others() -> None:
    intake = Intake()
    intake.journal.refuses = True
    event = {"event": b"x" * 600}
    assert intake.refused(1, 2, event=b"x" * 300).code is RefusalCode.JOURNAL_UNAVAILABLE
    assert intake.live.get(make_request(1).event_hash) is None
    intake.journal.refuses = False
    assert [receipt.status for receipt in intake.accept(1, **event)] == ["queued"]
    assert intake.refused(2, **event).code is RefusalCode.QUEUE_FULL  # by its bytes
    assert [receipt.status for receipt in intake.accept(3, 4)] == ["queued", "queued"]
