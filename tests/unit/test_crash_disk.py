"""The disk of tests/crash keeps what was synced, and of the rest what it is told to."""

from __future__ import annotations

import random

import pytest

from tests.crash.answers import Answers, event_hash
from tests.crash.disk import SECTOR, Disk
from tests.crash.promises import Kept, Promises
from tests.crash.recording import Create, Rename, Step, Sync, Truncate, Unlink, Write
from tests.journals import make_request


def disk_after(*steps: Step) -> Disk:
    disk = Disk({"old": b"before"}, random.Random(0))
    for step in steps:
        disk.follow(step)
    return disk


def surely(*steps: Step) -> dict[str, bytes]:
    return disk_after(*steps).image(lambda _: False)


def at_best(*steps: Step) -> dict[str, bytes]:
    return disk_after(*steps).image(lambda _: True)


def test_a_write_is_sure_once_its_file_is_synced():
    write = Write(0, 3, b"XYZ123")

    assert surely(write) == {"old": b"before"}
    assert surely(write, Sync(None)) == {"old": b"before"}
    assert at_best(write) == {"old": b"befXYZ123"}
    assert surely(write, Sync(0)) == {"old": b"befXYZ123"}


def test_a_name_is_sure_once_the_directory_is_synced():
    new = (Create("new", 1), Write(1, 0, b"data"), Sync(1))

    assert surely(*new) == {"old": b"before"}
    assert at_best(*new) == {"old": b"before", "new": b"data"}
    assert surely(*new, Sync(None)) == {"old": b"before", "new": b"data"}
    assert surely(*new, Sync(None), Unlink("old"), Rename("new", "old")) == {
        "old": b"before",
        "new": b"data",
    }
    assert surely(*new, Rename("new", "old"), Sync(None)) == {"old": b"data"}


def test_a_change_that_is_missing_leaves_what_was_there_or_a_hole():
    disk = disk_after(Truncate(0, 0), Write(0, 2, b"cd"), Write(0, 0, b"ab"))

    assert disk.image(lambda number: number != 0) == {"old": b"abcdre"}
    assert disk.image(lambda number: number != 1) == {"old": b"ab"}
    assert disk.image(lambda number: number != 2) == {"old": b"\0\0cd"}


def test_a_torn_write_leaves_whole_sectors():
    disk = disk_after(Write(0, 100, b"x" * 10 * SECTOR))

    lots = random.Random(3)
    seen = {disk.image(lambda _: True, torn=lots)["old"] for _ in range(200)}

    assert len(seen) > 10
    for content in seen:
        for start in range(SECTOR, len(content) // SECTOR * SECTOR, SECTOR):
            assert len(set(content[start : start + SECTOR])) == 1


def test_what_a_failed_sync_lost_no_later_sync_brings_back():
    writes = [Write(0, place, b"x") for place in range(100)]
    disk = disk_after(*writes, Sync(0, failed=True), Sync(0))

    content = disk.image(lambda _: True)["old"]
    assert 20 < content.count(b"x") < 80


def test_a_name_whose_sync_failed_is_unsure_until_the_next():
    new = (Create("new", 1), Sync(None, failed=True))

    assert surely(*new) == {"old": b"before"}
    assert at_best(*new).keys() == {"old", "new"}
    assert surely(*new, Sync(None)).keys() == {"old", "new"}


def promised(*lines: list) -> Promises:
    promises = Promises()
    for line in lines:
        promises.follow(line)
    return promises


ONE, TWO = (make_request(number).event_hash for number in (1, 2))
WAITS = Kept("queued")


def test_what_was_acknowledged_must_be_there_and_what_was_not_may():
    asked = promised(["record", [1], 7])
    told = promised(["record", [1], 7], ["done", 7])

    assert not list(asked.broken({}, []))
    assert not list(asked.broken({ONE: WAITS}, [ONE]))
    assert list(told.broken({}, []))
    assert not list(told.broken({ONE: WAITS}, [ONE]))
    assert list(told.broken({ONE: WAITS, TWO: WAITS}, [ONE, TWO]))


def test_an_outcome_may_be_missing_but_not_without_its_message():
    told = promised(["record", [1], 7], ["done", 7], ["finish", 1, "dead", 4, ["message"], 7])

    assert not list(told.broken({ONE: WAITS}, [ONE]))
    assert not list(told.broken({ONE: Kept("dead", 4, frozenset({"message"}))}, []))
    assert list(told.broken({ONE: Kept("dead", 4)}, []))


def test_a_message_must_not_overtake_an_outcome_but_a_delivery_may():
    told = (["record", [1], 7], ["done", 7], ["put", 1, ["first"], 7], ["done", 7])
    outcome = (*told, ["finish", 1, "dead", 4, ["message"], 7])
    put = promised(*outcome, ["put", 1, ["second"], 7])
    delivered = promised(*outcome, ["delivered", 1, "first", 7])

    assert list(put.broken({ONE: Kept("queued", 0, frozenset({"first", "second"}))}, [ONE]))
    assert not list(delivered.broken({ONE: WAITS}, [ONE]))
    assert not list(delivered.broken({ONE: Kept("dead", 4, frozenset({"message"}))}, []))


def test_half_a_batch_and_a_wrong_order_are_seen():
    batch = promised(["record", [1, 2], 7])
    two = promised(["record", [1], 7], ["done", 7], ["record", [2], 7], ["done", 7])

    assert list(batch.broken({ONE: WAITS}, [ONE]))
    assert list(two.broken({ONE: WAITS, TWO: WAITS}, [TWO, ONE]))
    assert not list(two.broken({ONE: WAITS, TWO: WAITS}, [ONE, TWO]))


# -- what a service answered -----------------------------------------------------------------------


def answered(*lines: list) -> Answers:
    answers = Answers()
    for line in lines:
        answers.follow(line)
    return answers


FIRST, SECOND = event_hash(1), event_hash(2)
ACCEPTED = (["asked", 0, "event", [1]], ["answered", 0, 200])
BOTH_WAIT = {FIRST: WAITS, SECOND: WAITS}


def test_an_event_that_was_answered_with_200_must_be_there_until_it_has_ended_and_may_go():
    refused = answered(["asked", 0, "event", [1]], ["answered", 0, 503])
    many = answered(["ended", list(range(100))])

    assert list(answered(*ACCEPTED).broken({}, []))
    assert not list(answered(*ACCEPTED).broken({FIRST: WAITS}, [FIRST]))
    assert not list(answered(*ACCEPTED).broken({FIRST: Kept("created", 1)}, []))
    assert not list(refused.broken({}, []))
    assert not list(refused.broken({FIRST: WAITS}, [FIRST]))
    assert list(refused.broken(BOTH_WAIT, [FIRST, SECOND])), "nobody asked for the second"
    assert list(many.broken({}, [])), "housekeeping leaves the newest"


@pytest.mark.parametrize("operation", ["cancel", "delete", "retry"])
def test_what_was_done_to_a_build_and_answered_is_not_undone(operation):
    before = Kept("dead", 4, frozenset({f"dead_letter-{FIRST}"}))
    found, waiting = ({FIRST: before}, []) if operation == "retry" else ({FIRST: WAITS}, [FIRST])
    asked = (*ACCEPTED, ["asked", 1, operation, [1]])

    assert not list(answered(*asked).broken(found, waiting))
    assert list(answered(*asked, ["answered", 1, 200]).broken(found, waiting))
    assert not list(answered(*asked, ["answered", 1, 200]).broken({FIRST: Kept("created")}, []))


def test_a_cancel_that_is_kept_is_not_undone():
    cancelled = answered(*ACCEPTED, ["asked", 1, "cancel", [1]], ["answered", 1, 200])

    assert not list(cancelled.broken({FIRST: WAITS}, [FIRST], [f"build-a-b-{FIRST[:10]}"]))
    assert list(cancelled.broken({FIRST: WAITS}, [FIRST], [f"build-a-b-{SECOND[:10]}"]))


def test_of_a_service_too_half_a_batch_a_wrong_order_and_a_missing_letter_are_seen():
    batch = answered(["asked", 0, "event", [1, 2]])
    two = answered(*ACCEPTED, ["asked", 1, "event", [2]], ["answered", 1, 200])

    assert list(batch.broken({FIRST: WAITS}, [FIRST]))
    assert list(two.broken(BOTH_WAIT, [SECOND, FIRST]))
    assert list(two.broken(BOTH_WAIT, [FIRST, SECOND, FIRST]))
    assert not list(two.broken(BOTH_WAIT, [FIRST, SECOND]))
    assert list(answered(*ACCEPTED).broken({FIRST: Kept("dead", 4)}, []))
