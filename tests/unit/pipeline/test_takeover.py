"""What an earlier process left is queued again, and holds its room until then and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Full

import pytest

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.errors import BootError, RefusalCode, Refused
from lambda_builder.journal import NoJournal, OpenBuild, OpenReport
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline import takeover as module
from lambda_builder.pipeline.acceptance import entry_for
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.awaited import Awaited
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.takeover import TakeOver
from tests.journals import make_request, make_result
from tests.waiting import wait_until


class Journal(NoJournal):
    """Has open builds, of which row 2 cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.left = [OpenBuild(seq, make_request(seq), seq - 1) for seq in (1, 3, 4)]
        self.unreadable = 1

    def left_open(self) -> int:
        return len(self.left) + self.unreadable

    def take_over(self, limit: int) -> list[OpenBuild]:
        page, self.left = self.left[: min(limit, 2)], self.left[min(limit, 2) :]
        return page

    def left_behind(self, limit: int) -> list[OpenBuild]:
        return self.left[:limit]


class SharedJournal(Journal):
    """Has what other replicas left, took and stored, as it is told."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.left, self.unreadable = [], 0
        self.went: list[str] = []
        self.own: dict[str, OpenBuild] = {}
        self.refused: list[BuildResult] = []
        self.stored: BuildResult | None = None

    def moved(self) -> list[str]:
        return self.went

    def take(self, event_hash: str, *, from_others: bool) -> OpenBuild | None:
        assert not from_others
        return self.own.get(event_hash)

    def overtaken(self) -> list[BuildResult]:
        results, self.refused = self.refused, []
        return results

    def find(self, event_hash: str) -> BuildResult | None:
        return self.stored


class Start:
    """A start of the service, with a queue for four."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.queue: BuildQueue[Build] = BuildQueue(4)
        self.results, self.live = ResultStore(ttl_seconds=60.0, maximum=10), LiveBuilds()
        self.journal = journal or Journal()
        announcer = Announcer(source="s", overrides={}, sink=False, dead_letters=False)
        announcements = Announcements(announcer, self.journal.outbox)
        self.ledger = Ledger(
            self.results, self.live, self.journal, announcements, namespace="builds"
        )
        self.deleted: list[tuple[str, str]] = []
        self.take_over = TakeOver(
            self.queue,
            self.ledger,
            self.live,
            self.journal,
            Awaited(),
            delete_job=lambda name, uid: self.deleted.append((name, uid)),
        )

    def accept(self, number: int) -> Build:
        """Have a build wait in the queue."""
        build = Build(make_request(number))
        self.ledger.accepted([build])
        self.queue.put(entry_for(build), block=False)
        return build

    def round(self) -> None:
        """Do one round, which must not wait for anything."""
        thread = threading.Thread(target=self.take_over._round, args=(threading.Event(),))
        thread.start()
        thread.join(10.0)
        stuck = thread.is_alive()
        self.queue.close()
        thread.join(10.0)
        assert not stuck

    def end(self) -> None:
        self.queue.close()
        assert self.take_over.stop(10.0) == []


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)


REPORT = OpenReport(open_rows=4, last_seq=4)


def has_room(queue: BuildQueue[Build], count: int) -> bool:
    try:
        queue.reserve(count)
    except Full:
        return False
    queue.release(count)
    return True


def test_open_builds_are_queued_in_their_order_and_rows_that_nobody_can_read_hold_no_room() -> None:
    start = Start()
    start.take_over.start(lambda: REPORT)

    wait_until(lambda: has_room(start.queue, 1), "the room of the row that cannot be read")
    assert not has_room(start.queue, 2)
    builds = [start.queue.get(block=False).item for _ in range(3)]
    assert [(build.request.event_id, build.attempts) for build in builds] == [
        ("id-1", 0),
        ("id-3", 2),
        ("id-4", 3),
    ]
    assert has_room(start.queue, 4)
    assert not has_room(start.queue, 5)
    start.end()


def test_a_build_that_ended_before_its_turn_is_not_queued_and_holds_no_room() -> None:
    start = Start()
    build = start.ledger.adopt(make_request(3), 0)
    assert build is not None
    start.ledger.cancelled(build)
    start.take_over.start(lambda: REPORT)

    wait_until(lambda: has_room(start.queue, 2), "the room of what is not queued")
    assert [start.queue.get(block=False).item.request.event_id for _ in range(2)] == [
        "id-1",
        "id-4",
    ]
    assert has_room(start.queue, 4)
    assert not has_room(start.queue, 5)
    start.end()


def failing(*errors: Exception) -> tuple[Callable[[], OpenReport], list[Exception]]:
    left = [*errors]

    def open_journal() -> OpenReport:
        if left:
            raise left.pop(0)
        return REPORT

    return open_journal, left


FULL = Refused(RefusalCode.JOURNAL_UNAVAILABLE, "disk full")


def test_a_journal_that_cannot_be_opened_yet_is_opened_later() -> None:
    start = Start()
    open_journal, _ = failing(FULL, FULL, BootError("held"), BootError("held"), FULL)
    start.take_over.start(open_journal)

    wait_until(lambda: start.queue.qsize() == 3, "the builds to be queued")
    start.end()


def test_a_service_that_stops_before_its_journal_is_open_replays_nothing() -> None:
    start, asked = Start(), threading.Event()

    def open_journal() -> OpenReport:
        asked.set()
        raise FULL

    start.take_over.start(open_journal)
    assert asked.wait(10.0)
    start.end()
    assert start.queue.unfinished() == []
    assert start.take_over._expected == 0


def test_a_journal_that_can_never_be_opened_stops_the_start() -> None:
    with pytest.raises(BootError, match="held"):
        Start().take_over.start(failing(BootError("held"))[0])


def test_what_nobody_takes_over_is_known_at_the_end() -> None:
    start = Start()
    left = [Build(make_request(1))]
    found = start.take_over.left_behind(left)
    assert [request.event_id for request in found] == ["id-3", "id-4"]


def test_a_build_that_was_taken_over_goes_again_whatever_became_of_it_here_before() -> None:
    journal = SharedJournal()
    start = Start(journal)
    start.results.put(make_result(1, BuildState.DEAD))
    journal.left = [OpenBuild(1, make_request(1), 0)]
    start.round()
    assert [entry.item.request for entry in start.queue.unfinished()] == [make_request(1)]


def test_a_full_queue_holds_up_neither_what_moved_nor_what_is_left() -> None:
    journal = SharedJournal()
    start = Start(journal)
    builds = [start.accept(number) for number in range(10, 14)]
    journal.left = [OpenBuild(seq, make_request(seq), 0) for seq in (1, 2)]
    journal.went = [builds[0].request.event_hash]
    start.round()
    waiting = [entry.item.request.event_id for entry in start.queue.unfinished()]
    assert waiting == ["id-11", "id-12", "id-13", "id-1"]
    assert start.queue.snapshot().accepted == 4
    assert start.results.by_event(builds[0].request.event_hash) is None


def test_a_build_that_came_back_meanwhile_stays() -> None:
    journal = SharedJournal()
    start = Start(journal)
    build = start.accept(10)
    journal.went = [build.request.event_hash]
    journal.own = {build.request.event_hash: OpenBuild(1, build.request, 0)}
    start.round()
    assert [entry.item for entry in start.queue.unfinished()] == [build]


@pytest.mark.parametrize(
    ("stored", "is_deleted"),
    [
        (make_result(1, BuildState.CANCELLED), True),
        (make_result(1, BuildState.CREATED, job_uid="another"), True),
        (make_result(1, BuildState.CREATED, job_uid="mine"), False),
        (make_result(1, BuildState.QUEUED), False),
        (None, False),
    ],
)
def test_a_job_is_deleted_where_its_build_was_cancelled_or_has_another_one(
    stored: BuildResult | None, is_deleted: bool
) -> None:
    journal = SharedJournal()
    start = Start(journal)
    made = make_result(1, BuildState.CREATED, job_uid="mine")
    start.results.put(made)
    journal.refused, journal.stored = [made], stored
    start.round()
    assert start.deleted == ([(made.request.job_name, "mine")] if is_deleted else [])
    assert start.results.by_event(made.request.event_hash) is None
