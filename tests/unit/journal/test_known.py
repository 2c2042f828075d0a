"""What the journal may hold is never taken for new."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lambda_builder.builds import netstring_digest
from lambda_builder.journal.sqlite.known import KnownEvents

HASHES = [netstring_digest("source", str(number)).encode() for number in range(4000)]


def test_what_was_added_is_known_and_most_of_the_rest_is_not() -> None:
    known = KnownEvents()
    known.add(HASHES[:2000])

    assert all(map(known.may_hold, HASHES[:2000]))
    assert sum(map(known.may_hold, HASHES[2000:])) < 20


def test_of_events_that_share_a_byte_none_is_lost_when_threads_add_them() -> None:
    known = KnownEvents(bits=16)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda each: known.add([each]), HASHES))

    assert known._map[:] == b"\xff\xff"
    assert KnownEvents(bits=16)._map[:] == b"\0\0"
