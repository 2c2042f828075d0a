"""The outbox in memory keeps the journal's rules, and a bound."""

from __future__ import annotations

import inspect

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.journal import (
    Journal,
    MemoryOutbox,
    NoJournal,
    OpenReport,
    OutboxMessage,
    SqliteJournal,
)
from tests.journals import make_message as message
from tests.journals import make_request


def ids(messages: list[OutboxMessage]) -> list[str]:
    return [each.id for each in messages]


def test_messages_of_one_key_leave_one_after_the_other():
    outbox = MemoryOutbox()
    outbox.put([message(1), message(2), message(3, key="other")])

    assert ids(outbox.due(0.0, 10, "sink")) == ["message-1", "message-3"]
    outbox.delivered("message-1")
    assert ids(outbox.due(0.0, 10, "sink")) == ["message-2", "message-3"]


def test_it_has_a_clock_of_its_own_by_which_messages_are_due():
    outbox = MemoryOutbox()
    outbox.put([message(1)])

    assert ids(outbox.due(outbox.now(), 10, "sink")) == ["message-1"]
    assert outbox.now() <= outbox.now()


def test_a_failed_message_and_those_behind_it_wait_for_its_next_time():
    outbox = MemoryOutbox()
    outbox.put([message(1), message(2)])

    outbox.failed("message-1", 50.0)

    assert outbox.due(49.0, 10, "sink") == []
    assert outbox.next_due("sink") == 50.0
    (again,) = outbox.due(50.0, 10, "sink")
    assert (again.id, again.attempts) == ("message-1", 1)


def test_destinations_do_not_wait_for_each_other():
    outbox = MemoryOutbox()
    outbox.put([message(1), message(2, destination="dead_letter")])

    assert ids(outbox.due(0.0, 10, "sink")) == ["message-1"]
    assert ids(outbox.due(0.0, 10, "dead_letter")) == ["message-2"]
    assert (outbox.pending("sink"), outbox.pending("handoff"), outbox.pending()) == (1, 0, 2)
    assert outbox.next_due("handoff") is None


def test_no_more_than_the_limit_is_due():
    outbox = MemoryOutbox()
    outbox.put([message(number, key=f"key-{number}") for number in range(9)])

    assert ids(outbox.due(0.0, 4, "sink")) == ["message-0", "message-1", "message-2", "message-3"]


def test_a_message_put_again_keeps_its_place_and_takes_the_new_content():
    outbox = MemoryOutbox()
    outbox.put([message(1), message(2, key="other")])

    outbox.put([message(1, body=b"newer")])

    first, second = outbox.due(0.0, 10, "sink")
    assert (first.id, first.body, second.id) == ("message-1", b"newer", "message-2")


def test_beyond_its_bound_the_oldest_are_dropped_and_counted():
    outbox = MemoryOutbox(most=3)

    outbox.put([message(number, key=f"key-{number}") for number in range(5)])

    assert ids(outbox.due(0.0, 10, "sink")) == ["message-2", "message-3", "message-4"]
    assert (outbox.dropped, outbox.pending()) == (2, 3)


def test_beyond_its_bytes_the_oldest_events_are_dropped_and_dead_letters_last():
    outbox = MemoryOutbox(most_bytes=3500)
    outbox.put([message(0, key="dead", destination="dead_letter", body=b"x" * 1000)])
    for number in range(1, 5):
        outbox.put([message(number, key=f"{number}", body=b"x" * 1000)])
    outbox.put([message(4, key="4", body=b"y" * 1000)])  # takes the place of what it was

    kept = [*outbox.due(1e9, 10, "dead_letter"), *outbox.due(1e9, 10, "sink")]
    assert ids(kept) == ["message-0", "message-3", "message-4"]
    assert outbox.dropped == 2
    outbox.put([message(5, destination="dead_letter", body=b"x" * 3000)])
    assert ids(outbox.due(1e9, 10, "dead_letter")) == ["message-5"]
    assert outbox.pending("sink") == 0


def test_what_failed_comes_after_what_is_due_for_longer():
    outbox = MemoryOutbox()
    outbox.put([message(number, key=f"{number}") for number in range(3)])
    outbox.failed("message-0", 5.0)
    assert ids(outbox.due(10.0, 3, "sink")) == ["message-1", "message-2", "message-0"]


def test_news_come_at_once_when_there_were_some_since():
    outbox = MemoryOutbox()
    seen = outbox.wait_for_news(0, 0.0)

    outbox.put([message(1)])

    later = outbox.wait_for_news(seen, 30.0)
    assert later != seen
    assert outbox.wait_for_news(later, 0.0) == later


def test_a_delivery_is_news_only_to_what_was_held_back_by_it():
    outbox = MemoryOutbox()
    outbox.put([message(1, key="a"), message(2, key="a"), message(3, key="b")])
    outbox.put([message(2, key="a")])  # again
    seen = outbox.wait_for_news(0, 0.0)
    outbox.delivered("message-3")
    outbox.delivered("message-3")
    assert outbox.wait_for_news(seen, 0.0) == seen
    outbox.delivered("message-1")
    assert ids(outbox.due(1e9, 10, "sink")) == ["message-2"]
    later = outbox.wait_for_news(seen, 0.0)
    assert later != seen
    outbox.delivered("message-2")
    assert outbox.wait_for_news(later, 0.0) == later


def test_what_was_delivered_twice_or_never_put_is_no_error():
    outbox = MemoryOutbox()

    outbox.delivered("unknown")
    outbox.failed("unknown", 1.0)

    assert outbox.pending() == 0


def test_without_a_journal_everything_is_accepted_and_nothing_is_found():
    journal = NoJournal()
    request = make_request(1)

    assert journal.open() == OpenReport()
    journal.record([request])
    journal.attempt(request.event_hash, 1)
    journal.forget(request.event_hash)
    journal.reopen(request)

    assert journal.available
    assert journal.find(request.event_hash) is None
    assert journal.find_by_id(request.job_name) == []
    assert journal.finished(states=["dead"], limit=5) == []
    assert journal.left_open() == 0
    assert journal.take_over(5) == journal.left_behind(5) == []
    assert journal.flush(0.0)
    assert journal.close(0.0)


def test_without_a_journal_the_messages_of_an_outcome_are_delivered_all_the_same():
    journal = NoJournal()

    journal.finish(BuildResult(request=make_request(1), state=BuildState.DEAD), [message(1)])

    assert ids(journal.outbox.due(0.0, 10, "sink")) == ["message-1"]
    assert journal.stats()["outbox"] == 1


def test_both_journals_have_the_methods_of_any():
    def methods(kind):
        return {
            name: [*inspect.signature(value).parameters]
            for name, value in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    wanted = methods(Journal)
    for kind in (NoJournal, SqliteJournal):
        assert {name: methods(kind)[name] for name in wanted} == wanted
