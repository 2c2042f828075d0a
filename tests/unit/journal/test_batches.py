"""What becomes of changes on a disk that is full, without threads."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lambda_builder.errors import Refused
from lambda_builder.journal.batches import Batches
from lambda_builder.journal.changes import Change, Ticket, Verdict
from lambda_builder.journal.rows import message_row, request_row
from tests.journals import make_message, make_request


class FullDisk:
    """Takes changes of few bytes, one at a time, and remembers them."""

    def __init__(self, room: int = 0) -> None:
        self.failure: str | None = "disk full"
        self.room = room
        self.written: list[Change] = []
        self.probes = 0

    def commit(self, changes: Sequence[Change]) -> Verdict:
        if len(changes) > 1 or changes[0].bytes > self.room:
            return Verdict.UNAVAILABLE
        self.written += changes
        return Verdict.WRITTEN

    def probe(self) -> None:
        self.probes += 1

    def pause(self, *, idle: bool) -> float:
        return 30.0


def message(number: int, size: int) -> Change:
    """Return the change that puts a message of a build of its own."""
    key, body = f"build-{number}", b"x" * size
    return Change(messages=[message_row(make_message(number, key, headers={}, body=body))])


BUILD = Change(records=[request_row(make_request(1))])


def test_what_fits_is_written_though_something_smaller_has_to_wait() -> None:
    disk, over = FullDisk(5000), []
    batches = Batches(disk, on_over=over.extend)  # type: ignore[arg-type]
    large, fitting = message(1, 9000), message(2, 4000)
    ticket = Ticket()
    build = Change(records=BUILD.records, ticket=ticket)

    batches.write([large, build, fitting])

    assert disk.written == [fitting]
    assert over == [fitting, build]
    assert batches.backlog == 1
    with pytest.raises(Refused, match="disk full"):
        ticket.check()


def test_whoever_waits_for_all_to_be_written_waits_for_what_does_not_fit() -> None:
    disk = FullDisk(5000)
    batches = Batches(disk, on_over=lambda _changes: None)  # type: ignore[arg-type]
    flush = Change(ticket=Ticket(), patient=True)

    batches.write([message(1, 9000), flush])

    assert not flush.ticket.over
    disk.room = 10_000
    batches.write([message(2, 10)])
    assert flush.ticket.over
    assert [change.bytes for change in disk.written if change.rows] == [12, 9002]


def test_a_change_to_one_message_does_not_overtake_an_earlier_one() -> None:
    disk = FullDisk(5000)
    batches = Batches(disk, on_over=lambda _changes: None)  # type: ignore[arg-type]
    put, taken_back = message(1, 9000), Change(delivered=[("message-1",)])

    batches.write([put, taken_back])

    assert disk.written == []
    assert batches.backlog == 2


def test_a_disk_that_fails_is_probed_once_a_second() -> None:
    disk = FullDisk()
    batches = Batches(disk, on_over=lambda _changes: None)  # type: ignore[arg-type]

    for _ in range(3):
        batches._probe()
    assert disk.probes == 1
    batches._retry_at = 0.0  # a second later
    batches._probe()
    assert disk.probes == 2
    disk.failure, batches._retry_at = None, 0.0
    batches._probe()
    assert disk.probes == 2


def test_what_was_put_off_is_tried_again_after_a_second_and_not_later() -> None:
    batches = Batches(FullDisk(), on_over=lambda _changes: None)  # type: ignore[arg-type]
    batches.write([message(1, 10)])

    assert 0.9 < batches.pause(idle=True) <= 1.0
    batches._retry_at = 0.0
    assert batches.pause(idle=True) == 0.0
