"""Whose turn it is to write."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_builder.journal.changes import Change, Notice, Ticket, Verdict
from lambda_builder.journal.writer import Writer
from tests.waiting import wait_until


class Disk:
    """Takes everything, and remembers which thread brought what together."""

    failure = None

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[object]]] = []
        self.free = threading.Semaphore(0)
        """Commits that may end."""
        self.pauses = [0.01]
        self.looks = 0
        """How often somebody asked whether there is something to do."""
        self.kept_house: list[str] = []

    def commit(self, changes: Sequence[Change]) -> Verdict:
        who = threading.current_thread().name
        self.batches.append((who, [row for change in changes for (row,) in change.forgets]))
        assert self.free.acquire(timeout=20)
        return Verdict.WRITTEN

    def pause(self, *, idle: bool) -> float:
        self.looks += 1
        return self.pauses[-1]

    def keep_house(self, *, idle: bool) -> None:
        self.pauses.append(30.0)
        self.kept_house.append(threading.current_thread().name)

    def finish(self) -> None:
        """Have nothing to tidy."""


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def writer(disk: Disk) -> Iterator[Writer]:
    writer = Writer(disk, on_over=lambda _changes: None, gather_seconds=3600.0)  # type: ignore[arg-type]
    writer.start()
    yield writer
    disk.free.release(100)
    assert writer.close(10.0)


def change(name: str) -> Change:
    return Change(forgets=[(name,)])


def begin(disk: Disk, callers: ThreadPoolExecutor, writer: Writer, *names: str) -> None:
    """Have each name written by a caller of its own; the first is at the disk, the rest wait."""
    for count, name in enumerate(names):
        callers.submit(writer.write, change(name))
        wait_until(lambda n=count: len(disk.batches) == 1 and writer.backlog == n)  # type: ignore[misc]


def test_an_idle_journal_is_written_by_whoever_asks(writer: Writer, disk: Disk) -> None:
    disk.free.release(2)

    writer.write(change("a"))
    writer.write(change("b"))

    here = threading.current_thread().name
    assert disk.batches == [(here, ["a"]), (here, ["b"])]


def test_what_nobody_waits_for_is_written_by_the_thread(writer: Writer, disk: Disk) -> None:
    disk.free.release(2)

    writer.queue(change("a"))

    assert writer.flush(10.0)
    assert {who for who, _ in disk.batches} == {"journal"}
    assert [row for _, rows in disk.batches for row in rows] == ["a"]


def test_what_nobody_waits_for_gathers_and_is_written_after_a_while(disk: Disk) -> None:
    writer = Writer(disk, on_over=lambda _changes: None, gather_seconds=0.1)  # type: ignore[arg-type]
    disk.pauses = [30.0]
    disk.free.release(100)
    writer.start()
    never = threading.Event()
    for name in "abc":
        writer.queue(change(name))
        assert not never.wait(0.01)  # the thread could have written it
    assert disk.batches == []
    wait_until(lambda: [rows for _, rows in disk.batches] == [["a", "b", "c"]])
    assert writer.close(10.0)


def test_the_thread_sleeps_while_changes_gather(disk: Disk) -> None:
    writer = Writer(disk, on_over=lambda _changes: None, gather_seconds=0.5)  # type: ignore[arg-type]
    disk.pauses, disk.free = [30.0], threading.Semaphore(100)
    writer.start()
    writer.queue(change("first"))
    wait_until(lambda: len(disk.batches) == 1)
    looks, never = disk.looks, threading.Event()
    for number in range(20):
        writer.queue(change(str(number)))
        assert not never.wait(0.005)
    assert disk.looks <= looks + 5  # not with each of them
    wait_until(lambda: writer.backlog == 0)
    assert writer.close(10.0)


def test_what_gathers_is_written_at_once_with_what_somebody_waits_for(
    writer: Writer, disk: Disk
) -> None:
    disk.free.release(3)
    told = threading.Event()

    writer.queue(change("a"))
    writer.write(change("b"))
    writer.queue(change("c"))
    writer.queue(Change(forgets=[("d",)], ticket=Notice(lambda _error: told.set())))
    assert told.wait(10)
    writer.queue(change("e"))
    writer.queue(Change(forgets=[("f",)], soon=True))

    wait_until(lambda: len(disk.batches) == 3)
    assert [rows for _, rows in disk.batches] == [["a", "b"], ["c", "d"], ["e", "f"]]


def test_one_of_those_that_wait_writes_for_all_in_the_order_they_came(
    writer: Writer, disk: Disk
) -> None:
    with ThreadPoolExecutor(4, "caller") as callers:
        begin(disk, callers, writer, "a", "b", "c")
        writer.queue(change("d"))
        disk.free.release(2)

    first, then = disk.batches
    assert (first[1], then[1]) == (["a"], ["b", "c", "d"])
    assert first[0] != then[0] != "journal"


def test_the_thread_keeps_house_though_there_is_always_somebody_who_waits(
    writer: Writer, disk: Disk
) -> None:
    with ThreadPoolExecutor(4, "caller") as callers:
        begin(disk, callers, writer, "a", "b")
        disk.pauses.append(0.0)  # the log got long
        disk.free.release(1)
        wait_until(lambda: len(disk.batches) == 2)
        callers.submit(writer.write, change("c"))
        disk.free.release(2)

    assert [who for who, _ in disk.batches][1] == "journal"
    assert disk.kept_house == ["journal"]
    wait_until(lambda: not writer.backlog)


def test_the_thread_gets_the_turn_that_it_wanted_though_there_is_nothing_to_do_any_more(
    writer: Writer, disk: Disk
) -> None:
    with ThreadPoolExecutor(4, "caller") as callers:
        begin(disk, callers, writer, "a")
        disk.pauses.append(0.0)
        wait_until(lambda: writer._wanted)
        disk.pauses.append(30.0)
        disk.free.release(1)

    wait_until(lambda: disk.kept_house == ["journal"])


def test_a_change_that_nobody_took_up_in_time_is_refused(
    writer: Writer, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_builder.journal.writer.STUCK_SECONDS", 0.05)
    with ThreadPoolExecutor(4, "caller") as callers:
        begin(disk, callers, writer, "a")
        stuck = callers.submit(writer.write, change("b"))
        error = stuck.exception(timeout=10)
        disk.free.release(1)

    assert "what comes first takes too long" in str(error)
    assert [rows for _, rows in disk.batches] == [["a"]]


def test_a_change_that_is_withdrawn_before_it_was_taken_up_is_refused_and_its_notice_told(
    writer: Writer, disk: Disk
) -> None:
    told: list[Exception | None] = []
    taken_up, waiting = change("a"), change("b")
    taken_up.ticket, waiting.ticket = Notice(told.append), Notice(told.append)
    writer.queue(taken_up)
    wait_until(lambda: len(disk.batches) == 1)
    writer.queue(waiting)
    writer.withdraw(waiting)
    assert "what comes first takes too long" in str(told[0])
    writer.withdraw(taken_up)
    writer.withdraw(waiting)
    assert len(told) == 1
    disk.free.release(1)

    wait_until(lambda: told[1:] == [None])
    assert [rows for _, rows in disk.batches] == [["a"]]


def test_who_waits_writes_for_those_who_are_told(writer: Writer, disk: Disk) -> None:
    told: list[Exception | None] = []
    noticed = change("b")
    noticed.ticket = Notice(told.append)
    with ThreadPoolExecutor(4, "caller") as callers:
        begin(disk, callers, writer, "a")
        writer.queue(noticed)
        waiting = callers.submit(writer.write, change("c"))
        wait_until(lambda: writer.backlog == 2)
        disk.free.release(2)
        waiting.result(10)

    assert told == [None]
    assert [rows for _, rows in disk.batches] == [["a"], ["b", "c"]]


def test_a_caller_whose_time_is_up_as_it_gets_the_turn_writes_all_the_same(
    writer: Writer, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = Ticket.wait

    def too_late(ticket: Ticket, timeout: float | None) -> bool:
        if timeout is None:
            return wait(ticket, timeout)
        wait_until(lambda: ticket.called)
        return False

    monkeypatch.setattr(Ticket, "wait", too_late)
    with ThreadPoolExecutor(4, "caller") as callers:
        begin(disk, callers, writer, "a", "b")
        disk.free.release(2)

    monkeypatch.undo()
    assert [rows for _, rows in disk.batches] == [["a"], ["b"]]


def test_the_end_waits_for_whoever_writes(writer: Writer, disk: Disk) -> None:
    with ThreadPoolExecutor(4, "caller") as callers:
        begin(disk, callers, writer, "a", "b")
        assert not writer.close(0.05)
        assert writer.running
        disk.free.release(2)

    assert writer.close(10.0)
    assert [rows for _, rows in disk.batches] == [["a"], ["b"]]
