"""What keeps the tables of a shared journal small."""

from __future__ import annotations

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.journal.postgres import caretaker
from lambda_builder.journal.postgres.schema import TRIMMING
from tests.journals import make_message, make_request, make_result


def event_hash(number):
    return make_request(number).event_hash


def finished(journal, numbers, state=BuildState.DEAD):
    for number in numbers:
        journal.finish(make_result(number, state))
    assert journal.flush(10.0)


def left(database, table="builds"):
    ((count,),) = database(f"SELECT count(*) FROM {table}")
    return count


def age(database, seconds):
    database("UPDATE builds SET settled_at = settled_at - make_interval(secs => %s)", seconds)


def test_settled_builds_go_once_they_are_old_and_no_others(replica, database):
    journal = replica(keep_seconds=60.0)
    finished(journal, range(3))
    finished(journal, [3], BuildState.RUNNING)
    journal.record([make_request(4)])
    age(database, 61.0)
    finished(journal, [5])

    journal._caretaker.round()
    assert journal.find(event_hash(0)) is None
    assert [n for n in range(6) if journal.find(event_hash(n))] == [3, 4, 5]
    assert journal.stats()["trimmed"] == 3


def test_of_too_many_the_oldest_go(replica, database):
    journal = replica(keep_max=4)
    for number in range(7):
        finished(journal, [number])
    journal._caretaker.round()
    assert [n for n in range(7) if journal.find(event_hash(n))] == [3, 4, 5, 6]


def test_what_is_kept_is_counted_once_a_minute(replica, monkeypatch):
    journal = replica(keep_max=1)
    finished(journal, range(2))
    journal._caretaker.round()
    assert journal.stats()["trimmed"] == 1
    finished(journal, range(2, 5))
    journal._caretaker.round()
    assert journal.stats()["trimmed"] == 1
    monkeypatch.setattr(caretaker, "_COUNT_SECONDS", 0.0)
    journal._caretaker.round()
    assert journal.stats()["trimmed"] == 4


def test_audit_and_refused_events_are_bounded_each_for_itself(replica, database, monkeypatch):
    monkeypatch.setattr(caretaker, "AUDIT_KEPT", {False: 3, True: 1})
    monkeypatch.setattr(caretaker, "REJECTIONS_KEPT", 2)
    journal = replica()
    for number in range(5):
        journal.note([b"done %d" % number], refused=False)
        journal.note([b"refused %d" % number], refused=True)
        journal.keep_rejection(b"%d" % number)
    assert journal.flush(10.0)

    journal._caretaker.round()
    entries = [entry for _, entry in journal.audit(before=None, limit=99)]
    assert entries == [b"refused 4", b"done 4", b"done 3", b"done 2"]
    assert journal.rejections() == [b"4", b"3"]


def test_outgoing_events_are_bounded_and_dead_letters_are_not(replica, database, monkeypatch):
    monkeypatch.setattr(caretaker, "EVENTS_KEPT", 2)
    journal = replica()
    for number in range(4):
        journal.outbox.put([make_message(number), make_message(f"dead-{number}", "d")])
        journal.outbox.put([make_message(f"letter-{number}", destination="dead_letter")])
    assert journal.flush(10.0)
    journal._caretaker.round()
    assert journal.outbox.pending("sink") == 2
    assert journal.outbox.pending("dead_letter") == 4
    assert journal.stats()["outbox_dropped"] == 6


def test_one_replica_trims_at_a_time(replica, database, postgres_server, journal_database):
    journal = replica(keep_seconds=60.0)
    finished(journal, range(3))
    age(database, 61.0)
    with postgres_server.connect(journal_database) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", (TRIMMING,))
        journal._caretaker.round()
        assert left(database) == 3
    journal._caretaker.round()
    assert left(database) == 0


@pytest.mark.parametrize("rows", [3, 1200])
def test_any_number_goes_in_small_batches(replica, database, rows):
    journal = replica(keep_seconds=60.0)
    finished(journal, range(rows))
    age(database, 61.0)
    journal._caretaker.round()
    assert left(database) == 0
