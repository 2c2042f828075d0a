"""Cancel and retry events are kept, or refused, and carried out as soon as that has an effect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lambda_builder.builds import CommandRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import NoJournal, SqliteJournal
from lambda_builder.kube.health import ApiHealth
from lambda_builder.steering import command_events
from lambda_builder.steering.command_events import CommandEvents
from tests.waiting import WAIT_SECONDS, wait_until


class Builds:
    """Refuses cancels by the code that is set for their event id; knows those in ``known``."""

    def __init__(self) -> None:
        self.refusals: dict[str, RefusalCode] = {}
        self.known: set[str] = set()
        self.tried: list[str] = []
        self.cancelled: list[str] = []
        self.done: dict[str, int] = {}
        self.given_up: list[tuple[str, RefusalCode]] = []
        self.let_go = threading.Event()
        self.let_go.set()

    def knows(self, request: CommandRequest) -> bool:
        return request.job_name in self.known

    def needs_api(self, request: CommandRequest) -> bool:
        return False

    def carry_out(self, request: CommandRequest, *, newest: int | None, done: set[str]) -> None:
        self.let_go.wait(WAIT_SECONDS)
        done.add(f"{request.event_id} {len(done)}")
        self.done[request.event_id] = len(done)
        self.tried.append(request.event_id)
        if request.event_id == "bug":
            raise ZeroDivisionError
        if request.event_id in self.refusals:
            raise Refused(self.refusals[request.event_id], "no")
        self.cancelled.append(request.event_id)

    def without_effect(self, request: CommandRequest, code: RefusalCode) -> None:
        self.given_up.append((request.event_id, code))


def request(event_id: str, *, source: str = "s", job_name: str = "j") -> CommandRequest:
    return CommandRequest(
        event_id=event_id,
        event_source=source,
        event_type="t",
        correlation_id=event_id,
        job_name=job_name,
    )


def made(builds: Builds, journal: SqliteJournal | NoJournal | None = None) -> CommandEvents:
    health = ApiHealth(lambda: True)
    return CommandEvents(builds, journal or NoJournal(), health, last_number=lambda: 0)


def take(cancels: CommandEvents, *requests: CommandRequest) -> None:
    with cancels.keeping(requests):
        pass


@contextmanager
def started(builds: Builds) -> Iterator[CommandEvents]:
    cancels = made(builds)
    cancels.start()
    try:
        yield cancels
    finally:
        assert cancels.stop(WAIT_SECONDS) == []


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_events, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(command_events, "_LONGEST_PAUSE_SECONDS", 0.05)


def test_cancels_are_carried_out_in_the_order_they_came() -> None:
    builds = Builds()
    with started(builds) as cancels:
        for number in range(20):
            take(cancels, request(str(number)))
    assert builds.cancelled == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    "code",
    [
        RefusalCode.KUBERNETES_UNAVAILABLE,
        RefusalCode.JOURNAL_UNAVAILABLE,
        RefusalCode.QUEUE_FULL,
        RefusalCode.SHUTTING_DOWN,
        RefusalCode.NOT_FOUND,
        RefusalCode.NOT_RETRYABLE,
    ],
)
def test_a_command_that_cannot_have_an_effect_yet_is_tried_again_and_holds_nobody_up(
    code: RefusalCode,
) -> None:
    builds = Builds()
    builds.refusals["early"] = code
    with started(builds) as cancels:
        take(cancels, request("early"))
        take(cancels, request("other"))
        wait_until(lambda: builds.cancelled == ["other"], "the other cancel")
        wait_until(lambda: builds.tried.count("early") > 2, "the first to be tried again")
        del builds.refusals["early"]
        wait_until(lambda: builds.cancelled == ["other", "early"], "the first cancel")
    assert builds.done["early"] == builds.tried.count("early")  # each try knew of those before


@pytest.mark.parametrize("code", [RefusalCode.KUBERNETES_REFUSED, RefusalCode.AMBIGUOUS])
def test_a_cancel_that_waiting_cannot_help_is_tried_once(code: RefusalCode) -> None:
    builds = Builds()
    builds.refusals["poison"] = code
    with started(builds) as cancels:
        for event_id in ("poison", "bug", "good"):
            take(cancels, request(event_id))
        wait_until(lambda: builds.cancelled == ["good"], "the good one")
    assert builds.tried == ["poison", "bug", "good"]


def test_a_pause_that_the_api_asked_for_holds_up_no_cancel_that_needs_no_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builds = Builds()
    monkeypatch.setattr(builds, "needs_api", lambda request: request.event_id == "job")
    health = ApiHealth(lambda: True)
    health.report_throttled(3600.0)
    cancels = CommandEvents(builds, NoJournal(), health, last_number=lambda: 0)
    cancels.start()
    take(cancels, request("job"))
    take(cancels, request("queued"))
    wait_until(lambda: builds.cancelled == ["queued"], "the one that needs no call")
    assert cancels.stop(WAIT_SECONDS) == []


@pytest.mark.parametrize(
    ("code", "patience"),
    [
        (RefusalCode.NOT_FOUND, "_PATIENCE_SECONDS"),
        (RefusalCode.NOT_RETRYABLE, "_END_SECONDS"),
    ],
)
def test_patience_with_a_build_that_is_unknown_or_does_not_end_has_an_end(
    monkeypatch: pytest.MonkeyPatch, code: RefusalCode, patience: str
) -> None:
    monkeypatch.setattr(command_events, patience, 0.1)
    builds = Builds()
    builds.refusals["nobody"] = code
    with started(builds) as cancels:
        take(cancels, request("nobody"))
        wait_until(lambda: builds.tried and not cancels._kept, "it to be given up")
    assert builds.given_up == [("nobody", code)]


def test_patience_with_kubernetes_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_events, "_PATIENCE_SECONDS", 0.0)
    builds = Builds()
    builds.refusals["away"] = RefusalCode.KUBERNETES_UNAVAILABLE
    with started(builds) as cancels:
        take(cancels, request("away"))
        wait_until(lambda: builds.tried.count("away") > 2, "it to be tried again")
        builds.refusals.clear()
        wait_until(lambda: builds.cancelled == ["away"], "the cancel")


def test_cancels_of_unknown_builds_crowd_out_neither_known_ones_nor_another_source() -> None:
    builds = Builds()
    builds.known.add("real")
    cancels = made(builds)
    kept = 0
    with pytest.raises(Refused) as refused:  # noqa: PT012 - which one is the last is the point
        for number in range(1100):
            take(cancels, request(f"junk-{number}", job_name="nobody"))
            kept += 1
    assert (kept, refused.value.code) == (100, RefusalCode.TOO_MANY_WAITING)
    take(cancels, request("real", job_name="real"))
    take(cancels, request("else", source="another"))
    take(cancels, request("junk-7", job_name="nobody"))  # sent again: it is kept already
    cancels.start()
    wait_until(lambda: len(builds.cancelled) == 102, "what was kept")
    assert cancels.stop(WAIT_SECONDS) == []


def test_no_more_than_a_thousand_are_kept_and_none_is_dropped() -> None:
    builds = Builds()
    builds.known.add("j")
    cancels = made(builds)
    for number in range(1000):
        take(cancels, request(str(number)))
    with pytest.raises(Refused) as refused:
        take(cancels, request("too many"))
    assert refused.value.code is RefusalCode.TOO_MANY_WAITING
    cancels.start()
    wait_until(lambda: len(builds.cancelled) == 1000, "the cancels")
    take(cancels, request("after"))
    assert cancels.stop(WAIT_SECONDS) == []
    assert builds.cancelled[-1] == "after"


def test_cancels_whose_delivery_is_refused_are_not_carried_out() -> None:
    builds = Builds()
    with started(builds) as cancels:
        with pytest.raises(ZeroDivisionError), cancels.keeping([request("no")]):
            raise ZeroDivisionError
        take(cancels, request("yes"))
        wait_until(lambda: builds.cancelled, "the other one")
    assert builds.cancelled == ["yes"]


def test_a_cancel_that_its_first_delivery_may_yet_lose_is_refused_to_the_second() -> None:
    builds = Builds()
    with started(builds) as cancels:
        with pytest.raises(ZeroDivisionError), cancels.keeping([request("twice")]):  # noqa: PT012
            with pytest.raises(Refused) as refused:
                take(cancels, request("twice"))
            raise ZeroDivisionError
        assert refused.value.code is RefusalCode.TOO_MANY_WAITING
        assert builds.tried == []
        take(cancels, request("twice"))
        wait_until(lambda: builds.cancelled == ["twice"], "the cancel")


def open_journal(path: Path) -> SqliteJournal:
    journal = SqliteJournal(path, keep_seconds=3600, keep_max=1000)
    journal.open()
    return journal


def test_a_cancel_that_had_no_effect_yet_is_taken_up_after_a_restart(tmp_path: Path) -> None:
    path, builds = tmp_path / "journal.sqlite3", Builds()
    builds.refusals["early"] = RefusalCode.NOT_FOUND
    journal = open_journal(path)
    cancels = made(builds, journal)
    cancels.start()
    take(cancels, request("early"), request("done"))
    wait_until(lambda: builds.cancelled == ["done"], "the other one")
    assert cancels.stop(WAIT_SECONDS) == []
    assert journal.close(WAIT_SECONDS)
    journal = open_journal(path)
    assert [kept.event_id for kept in journal.commands()] == ["early"]
    builds.refusals.clear()
    cancels = made(builds, journal)
    cancels.start()
    wait_until(lambda: builds.cancelled == ["done", "early"], "the first cancel")
    assert cancels.stop(WAIT_SECONDS) == []
    assert journal.flush(WAIT_SECONDS)
    assert journal.commands() == []
    assert journal.close(WAIT_SECONDS)


def test_cancels_of_a_journal_that_can_be_opened_only_later_are_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_events, "_READ_AGAIN_SECONDS", 0.01)
    path, builds = tmp_path / "journal.sqlite3", Builds()
    journal = open_journal(path)
    take(made(builds, journal), request("left"))
    assert journal.close(WAIT_SECONDS)
    journal = SqliteJournal(path, keep_seconds=3600, keep_max=1000)
    cancels = made(builds, journal)
    with capture_logs() as lines:
        cancels.start()
        wait_until(lambda: len(lines) == 1, "the journal to be missed")
        journal.open()
        wait_until(lambda: builds.cancelled == ["left"], "the cancel")
    assert [line["event"] for line in lines].count("command_events_not_read") == 1
    assert cancels.stop(WAIT_SECONDS) == []
    assert journal.close(WAIT_SECONDS)


class OfOthers(NoJournal):
    """Has commands that a lapsed replica left, each once; refuses to be read before."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.left: list[CommandRequest] | None = []

    def commands(self) -> list[CommandRequest]:
        if self.left is None:
            raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "away")
        found, self.left = self.left, []
        return found


def test_what_a_lapsed_replica_left_is_carried_out_while_this_one_runs() -> None:
    builds, journal = Builds(), OfOthers()
    cancels = made(builds, journal)
    cancels.start()
    take(cancels, request("own"))
    wait_until(lambda: builds.cancelled == ["own"], "the own one")
    journal.left = None
    cancels.take_up()
    journal.left = [request("left"), request("own")]
    cancels.take_up()
    wait_until(lambda: builds.cancelled == ["own", "left", "own"], "what was left")
    assert cancels.stop(WAIT_SECONDS) == []
    journal.left = [request("late")]
    cancels.take_up()
    assert journal.left == [request("late")]


def test_a_cancel_that_the_journal_cannot_keep_is_refused(tmp_path: Path) -> None:
    builds = Builds()
    journal = open_journal(tmp_path / "journal.sqlite3")
    cancels = made(builds, journal)
    assert journal.close(WAIT_SECONDS)
    with pytest.raises(Refused) as refused:
        take(cancels, request("1"))
    assert refused.value.code is RefusalCode.JOURNAL_UNAVAILABLE
    cancels.start()
    assert cancels.stop(WAIT_SECONDS) == []
    assert builds.tried == []
