"""What one replica records is known to the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lambda_builder.builds import BuildError, BuildState, FailureCategory
from lambda_builder.selection import BuildFilter, place_of
from lambda_builder.tenants import Tenants
from tests.journals import make_message, make_request, make_result


def event_hash(number):
    return make_request(number).event_hash


def event_ids(results):
    return [result.request.event_id for result in results]


def test_a_duplicate_of_another_replica_is_told_with_its_state(replica):
    one, two = replica(), replica()
    one.record([make_request(1), make_request(2)])
    one.finish(make_result(2, job_uid="uid-2"))
    assert one.flush(10.0)

    known = two.record([make_request(1), make_request(2), make_request(3)])
    assert known == {
        event_hash(1): make_result(1, BuildState.QUEUED, attempts=0),
        event_hash(2): make_result(2, job_uid="uid-2"),
    }
    assert two.find(event_hash(3)).state is BuildState.QUEUED
    assert [*one.record([make_request(3)])] == [event_hash(3)]


def test_what_was_turned_away_changes_nothing_that_another_replica_knows(replica):
    one, two = replica(), replica()
    one.record([make_request(1)])
    two.record([], [make_result(1, BuildState.CANCELLED), make_result(2, BuildState.CANCELLED)])
    assert one.find(event_hash(1)).state is BuildState.QUEUED
    assert one.find(event_hash(2)).state is BuildState.CANCELLED


def test_two_replicas_that_are_sent_the_same_events_at_once_record_each_once(replica):
    journals = replica(), replica()
    numbers = range(60)

    def record(work):
        journal, batch = work
        known = journal.record([make_request(number) for number in batch])
        return [number for number in batch if event_hash(number) not in known]

    batches = [[n, n + 1, n + 2] for n in numbers[::3]]
    work = [(journals[0], batch) for batch in batches]
    work += [(journals[1], batch[::-1]) for batch in batches[::-1]]
    with ThreadPoolExecutor(12) as pool:
        recorded = [number for each in pool.map(record, work) for number in each]
    assert sorted(recorded) == list(numbers)
    assert journals[0].available
    assert journals[1].available


def test_events_are_put_in_by_their_hashes_and_numbered_as_they_came(replica, database):
    replica().record([make_request(number) for number in range(30)])
    hashes = [event_hash(number) for number in range(30)]
    # Else two replicas that are sent the same events could wait for one another.
    assert [each for (each,) in database("SELECT event_hash FROM builds ORDER BY ctid")] == sorted(
        hashes
    )
    assert [each for (each,) in database("SELECT event_hash FROM builds ORDER BY seq")] == hashes


def test_a_build_that_another_replica_answered_for_is_not_forgotten(replica):
    one, two = replica(), replica()
    one.record([make_request(1), make_request(2)])
    assert [*two.record([make_request(1)])] == [event_hash(1)]
    for number in (1, 2):
        one.forget(event_hash(number))
    assert one.flush(10.0)

    assert two.find(event_hash(2)) is None
    assert one.left_open() == 1
    (build,) = one.take_over(10)
    assert build.request == make_request(1)


def test_dead_letters_audit_and_refused_events_are_common(replica):
    one, two = replica(), replica()
    one.note([b"one"], refused=False)
    two.note([b"two"], refused=True)
    one.keep_rejection(b"bad")
    one.finish(make_result(1, BuildState.DEAD))
    assert one.flush(10.0)

    assert [entry for _, entry in one.audit(before=None, limit=9)] == [b"two", b"one"]
    assert two.rejections() == [b"bad"]
    assert event_ids(two.elsewhere(BuildFilter(), before=None, limit=9)) == ["id-1"]
    assert one.elsewhere(BuildFilter(), before=None, limit=9) == []
    assert event_ids(one.finished(states=("dead",), limit=9)) == ["id-1"]
    assert two.finished(states=("dead",), limit=9) == []


def test_builds_elsewhere_come_newest_first_page_by_page_without_their_events(replica):
    one, two = replica(), replica()
    # Three of one moment, told apart by their names and hashes.
    moments = [make_request(n, event=b"{}", accepted_at=float(n // 3)) for n in range(9)]
    one.record(moments)

    found, before = [], None
    while page := two.elsewhere(BuildFilter(), before=before, limit=2):
        found += page
        before = place_of(page[-1])
    places = [place_of(result) for result in found]
    assert places == sorted(places, reverse=True)
    assert len({*event_ids(found)}) == 9
    assert all(result.request.event == b"" for result in found)


def test_builds_elsewhere_are_found_by_what_the_filter_says(replica):
    one, two = replica(), replica()
    failed = BuildError("build_failed", "No such FILE", FailureCategory.DOCKERFILE)
    one.record([make_request(n, third_party_id=f"customer-{n % 2}") for n in range(6)])
    one.finish(
        make_result(
            4, BuildState.FAILED, request=make_request(4, third_party_id="customer-0"), error=failed
        )
    )
    assert one.flush(10.0)

    def found(**wanted):
        return event_ids(two.elsewhere(BuildFilter(**wanted), before=None, limit=9))

    assert found(states=frozenset({BuildState.FAILED})) == ["id-4"]
    assert found(third_party_id="customer-1") == ["id-5", "id-3", "id-1"]
    assert found(correlation_id="correlation-2") == ["id-2"]
    assert found(parser_id="none") == []
    assert found(category="dockerfile") == ["id-4"]
    assert found(q="such file") == ["id-4"]
    assert found(q="CUSTOMER-1") == ["id-5", "id-4", "id-3", "id-2", "id-1", "id-0"]
    assert found(q="100%") == []
    start = make_request(0).accepted_at
    assert found(since=start + 2, until=start + 4) == ["id-3", "id-2"]
    assert found(tenants=(Tenants(["customer-1"]),)) == ["id-5", "id-3", "id-1"]


def test_a_few_of_one_tenant_are_found_among_many_others(replica):
    one, two = replica(), replica()
    for start in range(0, 1200, 100):
        one.record(
            [
                make_request(n, third_party_id="rare" if n % 500 == 7 else "common")
                for n in range(start, start + 100)
            ]
        )
    wanted = BuildFilter(tenants=(Tenants(["rare"]),))
    assert event_ids(two.elsewhere(wanted, before=None, limit=2)) == ["id-1007", "id-507"]


def test_the_first_message_of_a_key_holds_back_those_of_other_replicas(replica):
    one, two = replica(), replica()
    one.outbox.put([make_message(1)], durable=True)
    two.outbox.put([make_message(2), make_message(3, key="other")], durable=True)

    def due(journal):
        return [m.id for m in journal.outbox.due(journal.outbox.now(), 9, "sink")]

    assert (due(one), due(two)) == (["message-1"], ["message-3"])
    assert (one.outbox.pending(), two.outbox.pending()) == (1, 2)
    one.outbox.delivered("message-1")
    assert one.flush(10.0)
    assert due(two) == ["message-2", "message-3"]
