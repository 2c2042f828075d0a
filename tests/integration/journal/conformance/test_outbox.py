"""The outbox of any journal: in order per key, at least once, across restarts."""

from __future__ import annotations

import threading

import pytest

from lambda_builder.builds import BuildState
from tests.journals import make_message, make_request, make_result


def ids(messages):
    return [message.id for message in messages]


def due(journal, *, later=0.0, limit=10, destination="sink"):
    assert journal.flush(10.0)
    return journal.outbox.due(journal.outbox.now() + later, limit, destination)


def test_a_message_comes_with_the_outcome_that_causes_it(store):
    message = make_message(1, headers={"ce-id": "ż", "n": ""}, body=b"\0\xff")
    store().finish(make_result(1, BuildState.DEAD), [message])

    journal = store()
    assert journal.find(make_request(1).event_hash).state is BuildState.DEAD
    assert wait_for_due(journal) == [message]


def wait_for_due(journal, limit=10, destination="sink"):
    """Return what is due, as soon as something is: a shared journal inherits it first."""
    seen = 0
    for _ in range(10):
        if messages := due(journal, limit=limit, destination=destination):
            return messages
        seen = journal.outbox.wait_for_news(seen, 1.0)
    pytest.fail("no message is due")


def test_messages_of_one_key_leave_one_after_the_other(journal):
    journal.outbox.put([make_message(1), make_message(2), make_message(3, key="other")])

    assert ids(due(journal)) == ["message-1", "message-3"]
    journal.outbox.delivered("message-1")
    assert ids(due(journal)) == ["message-2", "message-3"]


def test_a_failed_message_and_all_behind_it_wait_for_its_next_time(journal):
    journal.outbox.put([make_message(1), make_message(2)])
    assert ids(due(journal)) == ["message-1"]
    next_at = journal.outbox.now() + 60.0
    journal.outbox.failed("message-1", next_at)

    assert due(journal) == []
    assert journal.outbox.next_due("sink") == pytest.approx(next_at, abs=0.5)
    (message,) = due(journal, later=61.0)
    assert (message.id, message.attempts) == ("message-1", 1)
    journal.outbox.put([make_message(3)])
    assert due(journal) == []


def test_failures_are_counted_and_survive_a_restart(store):
    journal = store()
    journal.outbox.put([make_message(1)])
    assert journal.flush(10.0)
    for _ in range(3):
        journal.outbox.failed("message-1", journal.outbox.now())
        assert journal.flush(10.0)

    (message,) = wait_for_due(store())
    assert message.attempts == 3


def test_destinations_do_not_wait_for_each_other(journal):
    journal.outbox.put([make_message(1), make_message(2, destination="dead_letter")])
    journal.outbox.failed("message-1", journal.outbox.now() + 60.0)

    assert ids(due(journal, destination="dead_letter")) == ["message-2"]
    assert due(journal, destination="handoff") == []
    assert journal.outbox.next_due("handoff") is None


def test_no_more_than_the_limit_is_due(journal):
    journal.outbox.put([make_message(number, key=f"{number}") for number in range(5)])
    assert len(due(journal, limit=3)) == 3


def test_a_message_put_again_keeps_its_place_and_takes_the_new_content(journal):
    journal.outbox.put([make_message(1), make_message(2)])
    assert journal.flush(10.0)
    journal.outbox.put([make_message(1, body=b"new")])

    (message,) = due(journal)
    assert (message.id, message.body) == ("message-1", b"new")
    assert journal.outbox.pending() == 2


def test_none_is_pending_only_when_none_is(journal):
    journal.outbox.put([make_message(1), make_message(2, destination="handoff")])
    # What is being written just now may be counted twice.
    assert journal.outbox.pending() >= 2
    assert journal.outbox.pending("handoff") >= 1
    assert journal.flush(10.0)
    assert (journal.outbox.pending(), journal.outbox.pending("handoff")) == (2, 1)
    for number in (1, 2):
        journal.outbox.delivered(f"message-{number}")
    assert journal.flush(10.0)
    assert journal.outbox.pending() == 0


def test_a_delivered_message_is_not_due_again_even_before_that_is_written(journal):
    journal.outbox.put([make_message(1)], durable=True)
    journal.outbox.delivered("message-1")
    assert journal.outbox.due(journal.outbox.now(), 10, "sink") == []


def test_a_durable_message_is_there_for_the_next_process(store):
    store().outbox.put([make_message(1, destination="handoff")], durable=True)
    assert ids(wait_for_due(store(), destination="handoff")) == ["message-1"]


def test_whoever_waits_for_news_hears_of_a_message_that_is_due(journal):
    heard = []
    seen = journal.outbox.wait_for_news(0, 0.0)

    def wait():
        journal.outbox.wait_for_news(seen, 10.0)
        heard.extend(ids(journal.outbox.due(journal.outbox.now(), 10, "sink")))

    consumer = threading.Thread(target=wait)
    consumer.start()
    journal.outbox.put([make_message(1)])
    consumer.join(10.0)
    assert heard == ["message-1"]


def test_messages_outlive_the_build_they_tell_of(journal):
    journal.record([make_request(1)])
    journal.outbox.put([make_message(1)])
    journal.forget(make_request(1).event_hash)
    assert ids(due(journal)) == ["message-1"]
