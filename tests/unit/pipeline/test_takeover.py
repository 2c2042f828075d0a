"""What an earlier process left is queued again, and holds its room until then and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Full

import pytest

from lambda_builder.errors import BootError, RefusalCode, Refused
from lambda_builder.journal import NoJournal, OpenBuild, OpenReport
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline import takeover as module
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.awaited import Awaited
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.takeover import TakeOver
from tests.journals import make_request
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


class Start:
    """A start of the service, with a queue for four."""

    def __init__(self) -> None:
        self.queue: BuildQueue[Build] = BuildQueue(4)
        results, live, journal = ResultStore(ttl_seconds=60.0, maximum=10), LiveBuilds(), Journal()
        announcer = Announcer(source="s", overrides={}, sink=False, dead_letters=False)
        announcements = Announcements(announcer, journal.outbox)
        self.ledger = Ledger(results, live, journal, announcements, namespace="builds")
        self.take_over = TakeOver(self.queue, self.ledger, live, journal, Awaited())

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
