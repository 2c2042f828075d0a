"""A batch is written whole or not at all, and a bad one leaves nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lambda_builder.journal.changes import Change, Verdict
from lambda_builder.journal.rows import message_row, request_row, result_row
from lambda_builder.journal.sqlite.committer import Committer
from lambda_builder.journal.sqlite.database import Database
from lambda_builder.journal.sqlite.housekeeping import Housekeeping
from lambda_builder.journal.sqlite.room import Room
from lambda_builder.journal.sqlite.statements import Statements
from tests.journals import make_message, make_request, make_result


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database(tmp_path / "journal.sqlite3")) as database:
        database.open()
        yield database


@pytest.fixture
def committer(database: Database, tmp_path: Path) -> Committer:
    return Committer(database, Statements(), Housekeeping(60.0, 100), Room(tmp_path))


def events(database: Database) -> list[str]:
    rows = database.fetch("SELECT correlation_id FROM builds ORDER BY seq")
    return [correlation_id for (correlation_id,) in rows]


def recording(number: int) -> Change:
    return Change(records=[request_row(make_request(number))], durable=True)


BAD = Change(attempts=[("hash", 2**70)])


def test_a_batch_with_a_bad_change_is_not_written_at_all(committer, database):
    assert committer.commit([recording(1), BAD]) is Verdict.REJECTED
    assert events(database) == []


@pytest.mark.parametrize("bad", [[BAD], [recording(1), BAD], [BAD, recording(1), recording(2)]])
def test_after_a_bad_batch_the_next_is_written(committer, database, bad):
    committer.commit(bad)

    assert committer.commit([recording(3), recording(4)]) is Verdict.WRITTEN
    assert events(database) == ["correlation-3", "correlation-4"]
    assert committer.failure is None


def test_a_file_that_cannot_be_written_is_told_from_a_bad_change(committer, database):
    database.writer(durable=True).execute("PRAGMA query_only = ON")

    with capture_logs() as logs:
        assert committer.commit([recording(1)]) is Verdict.UNAVAILABLE
        assert committer.commit([recording(1)]) is Verdict.UNAVAILABLE
        assert committer.failure == "read-only file system"
        database.writer(durable=True).execute("PRAGMA query_only = OFF")
        committer.probe()
        committer.probe()
    assert committer.failure is None
    told = [(line["event"], line.get("reason")) for line in logs]  # once each
    assert told == [("journal_unavailable", "read-only file system"), ("journal_available", None)]


def test_an_outcome_goes_in_before_what_begins_again(committer, database):
    again = Change(reopens=[request_row(make_request(1))], durable=True)
    outcome = Change(finishes=[result_row(make_result(1), 5.0)])

    committer.commit([again, outcome])

    assert database.fetch("SELECT state, settled_at FROM builds") == [("queued", None)]


def test_a_forgotten_build_can_be_recorded_again_in_the_same_batch(committer, database):
    committer.commit([recording(1), recording(2)])

    committer.commit([recording(1), Change(forgets=[(make_request(1).event_hash,)])])

    assert events(database) == ["correlation-2", "correlation-1"]


def test_of_two_numbers_of_attempts_the_last_counts(committer, database):
    build = make_request(1)
    committer.commit([Change(records=[request_row(build)])])
    committer.commit([Change(attempts=[(build.event_hash, n)]) for n in (7, 3, 5)])
    assert database.fetch("SELECT attempts FROM builds") == [(5,)]


@pytest.mark.parametrize("size", [0, 1, 2, 31, 32, 33, 64, 65, 1000])
def test_batches_of_any_size_are_written_whole(committer, database, size):
    changes = [
        Change(
            records=[request_row(make_request(number))],
            messages=[message_row(make_message(number, key=f"key-{number}"))],
        )
        for number in range(size)
    ]

    assert committer.commit(changes) is Verdict.WRITTEN
    committer.commit([Change(attempts=[(make_request(n).event_hash, n + 1)]) for n in range(size)])

    assert events(database) == [f"correlation-{number}" for number in range(size)]
    rows = database.fetch("SELECT attempts FROM builds ORDER BY seq")
    assert [attempts for (attempts,) in rows] == list(range(1, size + 1))
    assert database.fetch("SELECT count(*) FROM outbox") == [(size,)]
    delivered = [Change(delivered=[(f"message-{number}",)]) for number in range(size)]
    assert committer.commit(delivered) is Verdict.WRITTEN
    assert committer.outbox.bytes == 0
    assert database.fetch("SELECT count(*) FROM outbox") == [(0,)]


def test_a_message_taken_back_in_the_batch_that_puts_it_is_gone(committer, database):
    put = Change(messages=[message_row(make_message(1)), message_row(make_message(2))])

    committer.commit([put, Change(delivered=[("message-1",)])])

    assert database.fetch("SELECT id FROM outbox") == [("message-2",)]


def test_a_message_put_again_in_the_batch_that_took_it_back_is_there(committer, database):
    put = Change(messages=[message_row(make_message(1))])
    committer.commit([put])

    committer.commit([Change(delivered=[("message-1",)]), put])

    assert database.fetch("SELECT id FROM outbox") == [("message-1",)]


def test_a_message_put_off_in_the_batch_that_puts_it_waits_with_all_behind_it(committer, database):
    put = Change(messages=[message_row(make_message(1)), message_row(make_message(2))])

    committer.commit([put, Change(failed=[("message-1", 5e12)])])

    rows = database.fetch("SELECT due_at, attempts FROM outbox ORDER BY seq")
    assert rows == [(5e12, 1), (5e12, 0)]


class SmallVolume(Room):
    """Room whose free bytes are set."""

    free = 0
    reserve = 1_000_000
    outbox = 0


@pytest.fixture
def volume(tmp_path: Path) -> SmallVolume:
    return SmallVolume(tmp_path)


@pytest.fixture
def cramped(database: Database, volume: SmallVolume) -> Committer:
    return Committer(database, Statements(), Housekeeping(60.0, 100), volume)


OUTCOME = Change(finishes=[result_row(make_result(9), 5.0)])


def test_a_full_volume_takes_outcomes_and_no_builds(cramped, database):
    assert cramped.commit([recording(1)]) is Verdict.UNAVAILABLE
    assert cramped.failure == "disk full"
    assert cramped.commit([OUTCOME]) is Verdict.WRITTEN
    assert cramped.failure == "disk full"
    assert events(database) == ["correlation-9"]


def test_dead_letters_may_take_half_of_what_builds_must_leave(cramped, volume, database):
    letter = Change(messages=[message_row(make_message(1, destination="dead_letter"))])
    volume.free = 400_000
    assert cramped.commit([letter]) is Verdict.UNAVAILABLE
    volume.free = 900_000
    assert cramped.commit([letter]) is Verdict.WRITTEN
    assert cramped.commit([recording(1)]) is Verdict.UNAVAILABLE


def test_builds_are_taken_again_once_the_volume_has_room(cramped, volume):
    cramped.commit([recording(1)])
    volume.free = 10_000_000

    cramped.probe()

    assert cramped.failure is None
    assert cramped.commit([recording(1)]) is Verdict.WRITTEN


@pytest.mark.parametrize(
    ("free", "verdict"), [(600_000, Verdict.WRITTEN), (400_000, Verdict.UNAVAILABLE)]
)
def test_free_pages_of_the_file_are_room_but_the_log_needs_its_own(
    cramped, volume, database, free, verdict
):
    volume.free = 1 << 40
    cramped.commit([Change(messages=[message_row(make_message(1, body=b"x" * 2_000_000))])])
    cramped.commit([Change(delivered=[("message-1",)])])
    cramped.probe()  # moves the log into the file
    volume.free = free

    assert cramped.commit([recording(1)]) is verdict


def test_no_house_is_kept_while_the_file_cannot_be_written(cramped, monkeypatch):
    runs = []
    monkeypatch.setattr(Housekeeping, "run", lambda *_, idle: runs.append(idle))
    monkeypatch.setattr(Housekeeping, "pause", lambda _: 0.0)

    for failure in (None, "disk full", "disk I/O error"):
        cramped.failure = failure
        cramped.keep_house(idle=True)
    monkeypatch.setattr(Housekeeping, "pause", lambda _: 0.5)
    cramped.failure = None
    cramped.keep_house(idle=True)

    assert runs == [True, True]
