"""Messages that leave with an outcome: in order per key, at least once, across restarts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.journal.sqlite.outbox import _DUE
from tests.journals import make_message, make_request, make_result, opened, raw


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def clock() -> list[float]:
    """The journal's time, in its only entry."""
    return [1000.0]


@pytest.fixture
def journal(path, clock):
    with opened(path, clock=lambda: 1000.0, timer=lambda: clock[0]) as journal:
        yield journal


def ids(messages):
    return [message.id for message in messages]


def due(journal, now=1000.0, limit=10, destination="sink"):
    assert journal.flush(10.0)
    return journal.outbox.due(now, limit, destination)


def test_a_message_comes_with_the_outcome_that_causes_it_or_not_at_all(path):
    message = make_message(1, headers={"ce-id": "ż", "n": ""}, body=b"\0\xff")
    with opened(path) as journal:
        journal.finish(make_result(1, BuildState.DEAD), [message])
    with raw(path) as connection:
        connection.execute("DELETE FROM outbox WHERE id = 'no such message'")

    with opened(path) as journal:
        assert journal.outbox.due(1e12, 10, "sink") == [message]
        assert len(journal.finished(states=("dead",), limit=10)) == 1


def test_messages_of_one_key_leave_one_after_the_other(journal):
    journal.outbox.put([make_message(1), make_message(2), make_message(3, key="other")])

    assert ids(due(journal)) == ["message-1", "message-3"]
    journal.outbox.delivered("message-1")
    assert ids(due(journal)) == ["message-2", "message-3"]


def test_a_delivered_message_is_not_due_again_even_before_that_is_written(journal):
    journal.outbox.put([make_message(number, key=f"key-{number}") for number in range(50)])
    assert journal.flush(10.0)

    seen = []
    while batch := journal.outbox.due(1000.0, 3, "sink"):
        seen += ids(batch)
        for message in batch:
            journal.outbox.delivered(message.id)

    assert sorted(seen) == sorted(f"message-{number}" for number in range(50))
    assert journal.flush(10.0)
    assert journal.outbox.pending() == 0


def test_a_failed_message_and_all_behind_it_wait_for_its_next_time(journal):
    journal.outbox.put([make_message(1), make_message(2)])
    assert ids(due(journal)) == ["message-1"]

    journal.outbox.failed("message-1", 1050.0)
    journal.outbox.put([make_message(3)])

    assert due(journal, now=1049.0) == []
    assert journal.outbox.next_due("sink") == 1050.0
    (again,) = due(journal, now=1050.0)
    assert (again.id, again.attempts) == ("message-1", 1)


def test_failures_are_counted_and_survive_a_restart(path):
    with opened(path) as journal:
        journal.outbox.put([make_message(1)], durable=True)
        for _ in range(3):
            journal.outbox.failed("message-1", 5.0)

    with opened(path) as journal:
        (message,) = journal.outbox.due(5.0, 10, "sink")
        assert message.attempts == 3
        assert journal.outbox.due(4.0, 10, "sink") == []


def test_destinations_do_not_wait_for_each_other(journal):
    journal.outbox.put([make_message(1), make_message(2, destination="dead_letter")])

    assert ids(due(journal)) == ["message-1"]
    assert ids(due(journal, destination="dead_letter")) == ["message-2"]
    assert journal.outbox.pending("sink") == 1
    assert journal.outbox.pending("handoff") == 0
    assert journal.outbox.pending() == 2
    assert journal.outbox.next_due("handoff") is None


def test_the_longest_due_come_first_and_no_more_than_the_limit(journal, clock):
    for number in range(5):
        clock[0] = 1000.0 - number
        journal.outbox.put([make_message(number, key=f"key-{number}")])
        assert journal.flush(10.0)

    assert ids(due(journal, limit=3)) == ["message-4", "message-3", "message-2"]


def test_a_message_put_again_keeps_its_place_and_takes_the_new_content(journal):
    journal.outbox.put([make_message(1), make_message(2)])
    journal.outbox.put([make_message(1, body=b"newer")])

    (message,) = due(journal)
    assert (message.id, message.body) == ("message-1", b"newer")
    assert journal.outbox.pending() == 2


def test_none_is_pending_only_when_none_is(journal):
    for number in range(200):
        journal.outbox.put([make_message(number)])
        assert journal.outbox.pending() >= number + 1

    assert journal.flush(10.0)
    assert journal.outbox.pending() == 200


def test_a_durable_put_is_on_the_disk_when_it_returns(journal):
    before = journal.stats()["fsyncs"]

    journal.outbox.put([make_message(1)], durable=True)

    assert journal.stats()["fsyncs"] == before + 1
    assert ids(journal.outbox.due(1000.0, 10, "sink")) == ["message-1"]


def test_whoever_waits_for_news_hears_of_a_message_that_is_due(journal):
    seen = journal.outbox.wait_for_news(0, 0.0)
    heard: list[str] = []

    def consume() -> None:
        journal.outbox.wait_for_news(seen, 30.0)
        heard.extend(ids(journal.outbox.due(1000.0, 10, "sink")))

    consumer = threading.Thread(target=consume)
    consumer.start()
    journal.outbox.put([make_message(1)])
    consumer.join(30.0)

    assert heard == ["message-1"]


def test_a_nudge_ends_the_waiting(journal):
    consumer = threading.Thread(target=journal.outbox.wait_for_news, args=(0, 60.0))
    consumer.start()
    journal.outbox.nudge()
    consumer.join(10.0)

    assert not consumer.is_alive()


def test_every_nudge_is_news(journal):
    seen = 0
    for _ in range(3):
        journal.outbox.nudge()
        before, seen = seen, journal.outbox.wait_for_news(seen, 0.0)
        assert seen != before


def test_a_message_settled_twice_is_not_due_until_both_are_written(journal, monkeypatch):
    journal.outbox.put([make_message(1)])
    assert ids(due(journal)) == ["message-1"]
    changes = []
    monkeypatch.setattr(journal.outbox, "_queue", changes.append)  # a disk that takes none
    journal.outbox.failed("message-1", 5.0)
    journal.outbox.failed("message-1", 5.0)

    journal.outbox.over(changes[:1])
    assert ids(journal.outbox.due(1000.0, 10, "sink")) == []
    assert journal.outbox.next_due("sink") > journal.outbox.now()
    journal.outbox.over(changes[1:])
    assert ids(journal.outbox.due(1000.0, 10, "sink")) == ["message-1"]
    assert journal.outbox.next_due("sink") == 1000.0


def test_a_message_that_cannot_be_read_blocks_nothing_behind_it(path):
    with opened(path) as journal:
        journal.outbox.put([make_message(1), make_message(2)])
    with raw(path) as connection:
        connection.execute("UPDATE outbox SET headers = x'ff' WHERE id = 'message-1'")

    with opened(path) as journal:
        assert journal.outbox.due(1e12, 10, "sink") == []
        assert journal.flush(10.0)
        assert ids(journal.outbox.due(1e12, 10, "sink")) == ["message-2"]


def test_messages_outlive_the_build_they_tell_of(path):
    moments = iter([1.0, 1.0, 1e6])
    last = [1e6]
    with opened(path, keep_seconds=1.0, clock=lambda: next(moments, last[0])) as journal:
        journal.finish(make_result(1, BuildState.DEAD), [make_message(1)])
        assert journal.flush(10.0)
        journal._housekeeping.start_round()
        journal.outbox.put([make_message(2)])
        assert journal.flush(10.0)

        assert journal.outbox.pending() == 2


def test_a_backlog_that_waits_is_not_read_to_find_what_is_due(path):
    with opened(path, clock=lambda: 0.0, timer=lambda: 0.0) as journal:
        for first in range(0, 4000, 500):
            keys = range(first, first + 500)
            journal.outbox.put([make_message(f"{n}-a", key=f"key-{n}") for n in keys])
            journal.outbox.put([make_message(f"{n}-b", key=f"key-{n}") for n in keys])
        assert journal.flush(10.0)
        for number in range(4000):
            journal.outbox.failed(f"message-{number}-a", 500.0)
        assert journal.flush(30.0)

        with raw(path) as connection:
            steps = []
            connection.set_progress_handler(lambda: steps.append(1), 10)
            found = connection.execute(_DUE, ("sink", 499.0, 10)).fetchall()
        assert found == []
        assert len(steps) < 20
        assert len(journal.outbox.due(500.0, 4000, "sink")) == 4000


def test_a_step_of_the_wall_clock_moves_nothing_that_waits(path):
    wall, timer = [50_000.0], [7.0]
    with opened(path, clock=lambda: wall[0], timer=lambda: timer[0]) as journal:
        journal.outbox.put([make_message(1)], durable=True)
        journal.outbox.failed("message-1", journal.outbox.now() + 30.0)
        assert journal.flush(10.0)
        wall[0] -= 3600.0
        journal.outbox.put([make_message(2, key="other")], durable=True)

        assert ids(journal.outbox.due(journal.outbox.now(), 10, "sink")) == ["message-2"]
        timer[0] += 31.0
        assert ids(journal.outbox.due(journal.outbox.now(), 10, "sink")) == [
            "message-2",
            "message-1",
        ]


def test_what_was_put_off_by_a_clock_that_was_ahead_is_due_soon_after_a_restart(path):
    with opened(path, clock=lambda: 90_000.0) as journal:
        journal.outbox.put([make_message(1)], durable=True)
        journal.outbox.failed("message-1", journal.outbox.now() + 30.0)

    timer = [0.0]
    with opened(path, clock=lambda: 50_000.0, timer=lambda: timer[0]) as journal:
        assert journal.outbox.due(journal.outbox.now(), 10, "sink") == []
        timer[0] = 61.0
        assert ids(journal.outbox.due(journal.outbox.now(), 10, "sink")) == ["message-1"]


def test_neither_outcome_nor_dead_letter_is_written_without_the_other(path):
    with opened(path) as journal:
        journal.record([make_request(1)])
        with raw(path) as connection:
            connection.execute(
                "CREATE TRIGGER no_letters BEFORE INSERT ON outbox"
                " BEGIN SELECT RAISE(ABORT, 'no letters'); END"
            )
        journal.finish(make_result(1, BuildState.DEAD), [make_message(1)])
        journal.flush(10.0)

        found = journal.find(make_request(1).event_hash)
        assert found is not None
        assert found.state is BuildState.QUEUED
        assert journal.outbox.pending() == 0


def test_what_was_delivered_but_not_written_is_not_read_again_and_again(journal, monkeypatch):
    journal.outbox.put(
        [make_message(number, key=f"{number}", body=b"x" * 100_000) for number in range(30)]
    )
    assert journal.flush(5.0)
    monkeypatch.setattr(journal.outbox, "_queue", lambda _change: None)  # a disk that takes none
    for number in range(28):
        journal.outbox.delivered(f"message-{number}")

    fetch, read = journal.outbox._messages._fetch, [0]

    def watched(sql, parameters):
        rows = fetch(sql, parameters)
        read[0] += sum(len(value) for row in rows for value in row if isinstance(value, bytes))
        return rows

    monkeypatch.setattr(journal.outbox._messages, "_fetch", watched)
    due = journal.outbox.due(journal.outbox.now(), 16, "sink")
    assert [message.id for message in due] == ["message-28", "message-29"]
    assert read[0] < 250_000
