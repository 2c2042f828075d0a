"""Deliveries: nobody waits for another's receiver, and one that is away is not stormed."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from lambda_builder.journal import SqliteJournal
from lambda_builder.outgoing import breaker, delivery
from lambda_builder.outgoing.breaker import AWAY_AFTER
from lambda_builder.outgoing.sink import Sink
from tests.waiting import wait_until

from .conftest import STOP_SECONDS, make_message

TRICKLED_BODY = b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n", b"x"


def becomes_true(condition, seconds):
    """Whether ``condition`` is met within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


def test_a_receiver_that_never_ends_its_answer_stops_no_delivery(outbox, trickler, deliver):
    outbox.put([make_message(number) for number in range(40)])
    deliver(sink=trickler(*TRICKLED_BODY).url)
    wait_until(lambda: outbox.pending() == 0, "all to be delivered", timeout=5)


def test_a_receiver_whose_answer_never_begins_to_end_is_found_away(
    monkeypatch, outbox, trickler, receiver, deliver
):
    monkeypatch.setattr(delivery, "_EXCHANGE_SECONDS", 0.3)
    outbox.put([make_message(number) for number in range(20)])
    outbox.put([make_message(f"dead-{n}", destination="dead_letter") for n in range(20)])
    deliver(sink=trickler(b"HTTP/1.1 202 Accepted\r\n", b"x").url, dead_letter=receiver.url)
    wait_until(lambda: outbox.pending("dead_letter") == 0, "the dead letters", timeout=5)
    failed = lambda: [m for m in outbox.due(2e9, 99, "sink") if m.attempts]  # noqa: E731
    wait_until(lambda: len(failed()) >= 3, "the first messages to be put off", timeout=5)


def test_what_a_destination_took_is_counted_once_however_often_it_was_tried(
    outbox, receiver, deliver
):
    answers = iter([500, 202, 202])
    receiver.answer = lambda name: next(answers)
    outbox.put([make_message(0), make_message("dead-0", destination="dead_letter")])
    counted = []
    deliver(sink=receiver.url, dead_letter=receiver.url, count=counted.append)
    wait_until(lambda: len(counted) == 2, "both to be counted", timeout=10)
    assert sorted(counted) == ["dead_letter", "sink"]


def test_one_message_that_hangs_at_the_receiver_holds_up_no_other(outbox, receiver, deliver):
    let_go = threading.Event()
    receiver.answer = lambda name: 202 if name != "message-0" or let_go.wait(30) else 500
    outbox.put([make_message(number) for number in range(100)])
    deliver(sink=receiver.url)
    wait_until(lambda: outbox.pending() == 1, "all others", timeout=5)
    let_go.set()
    wait_until(lambda: outbox.pending() == 0, "the last")
    assert sorted(receiver.posts) == sorted(set(receiver.posts))


def test_a_receiver_that_is_away_is_tried_a_few_times_however_much_waits_for_it(
    outbox, receiver, deliver
):
    receiver.answer = lambda _name: 503
    outbox.put([make_message(f"{n}-{m}", key=f"key-{n}") for n in range(200) for m in range(3)])
    deliver(sink=receiver.url)
    wait_until(lambda: len(receiver.posts) >= 3, "the first tries")
    # Eight are on their way when it shows; then one after some 1, 2 and 4 s.
    assert not becomes_true(lambda: len(receiver.posts) > 8 + 4, 3)
    outbox.put([make_message(f"new-{number}") for number in range(20)])  # news changes nothing
    assert not becomes_true(lambda: len(receiver.posts) > 8 + 5, 1)


def test_the_first_message_that_is_taken_lets_the_rest_flow_in_order(outbox, receiver, deliver):
    receiver.answer = lambda _name: 503
    outbox.put([make_message(f"{n}-{m}", key=f"key-{n}") for n in range(100) for m in range(3)])
    deliver(sink=receiver.url)
    wait_until(lambda: len(receiver.posts) > AWAY_AFTER, "an absence and a try")
    receiver.answer = lambda _name: 202
    wait_until(lambda: receiver.taken, "the first", timeout=5)
    wait_until(lambda: outbox.pending() == 0, "all", timeout=5)
    assert len(receiver.taken) == 300
    for number in range(100):
        of_one = [name for name in receiver.taken if name.startswith(f"message-{number}-")]
        assert of_one == [f"message-{number}-{m}" for m in range(3)]


def test_a_message_that_is_refused_for_ever_is_tried_less_and_less(outbox, receiver, deliver):
    receiver.answer = lambda name: 400 if name == "message-bad" else 202
    outbox.put([make_message("bad")])
    deliver(sink=receiver.url)
    wait_until(lambda: len(receiver.at) >= 4, "some tries")
    pauses = [later - earlier for earlier, later in pairwise(receiver.at[:4])]
    assert all(least < pause for least, pause in zip((0.45, 0.9, 1.8), pauses, strict=True))
    outbox.put([make_message("good")])
    wait_until(lambda: receiver.taken, "the good one", timeout=1)


def test_messages_that_are_refused_for_ever_do_not_make_the_receiver_seem_away_for_good(
    outbox, receiver, deliver
):
    receiver.answer = lambda name: 400 if "bad" in name else 202
    outbox.put([make_message(f"bad-{number}") for number in range(AWAY_AFTER)])
    deliver(sink=receiver.url)
    wait_until(lambda: len(set(receiver.posts)) == AWAY_AFTER, "all to be refused")
    outbox.put([make_message("good")])
    wait_until(lambda: receiver.taken == ["message-good"], "the good one")


@pytest.mark.parametrize("away", [False, True])
def test_a_message_that_may_not_be_sent_yet_is_sent_once_it_may(outbox, receiver, deliver, away):
    allowed = threading.Event()
    receiver.answer = lambda _name: 202 if allowed.is_set() or not away else 503
    outbox.put([make_message("mine"), *(make_message(number) for number in range(5))])
    deliver(
        sink=receiver.url,
        may_send=lambda name: allowed.is_set() or name != "message-mine",
    )
    wait_until(lambda: len(receiver.posts) >= 5, "the others")
    assert "message-mine" not in receiver.posts
    allowed.set()
    wait_until(lambda: outbox.pending() == 0, "all")


def test_a_delivery_that_goes_wrong_here_ends_no_delivery(outbox, receiver, deliver):
    def may_send(name):
        if name.startswith("message-wrong") and receiver.taken.count("message-right") == 0:
            raise RuntimeError("whoever is asked breaks")
        return True

    outbox.put([make_message(f"wrong-{number}") for number in range(12)])
    deliver(sink=receiver.url, may_send=may_send)
    outbox.put([make_message("right")])
    wait_until(lambda: outbox.pending() == 0, "all", timeout=30)


def test_at_a_stop_what_is_due_has_one_more_try_and_an_absent_receiver_one_message(
    outbox, receiver, deliver
):
    receiver.answer = lambda _name: 503
    outbox.put([make_message(number) for number in range(100)])
    sink = deliver(sink=receiver.url)
    wait_until(lambda: any(m.attempts for m in outbox.due(2e9, 100, "sink")), "a failure")
    wait_until(lambda: len(receiver.posts) >= 3, "the absence")
    before = len(receiver.posts)
    receiver.answer = lambda _name: 202
    assert sink.stop(5) == []
    assert len(receiver.posts) > before
    assert outbox.pending() <= 12  # those that had just been put off
    began = time.monotonic()
    assert sink.stop(5) == []
    assert time.monotonic() - began < 1


def test_a_journal_that_is_not_open_yet_is_told_of_once_and_delivers_when_it_is(
    receiver, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(delivery, "_TROUBLE_SECONDS", 0.02)
    journal = SqliteJournal(tmp_path / "journal.sqlite3", keep_seconds=60, keep_max=100)
    reads = []
    due = journal.outbox.due
    monkeypatch.setattr(journal.outbox, "due", lambda *query: reads.append(query) or due(*query))
    sink = Sink(journal.outbox, {"sink": receiver.url})
    sink.start()
    wait_until(lambda: len(reads) > 3, "some looks in vain")
    journal.open()
    journal.outbox.put([make_message("late")])
    wait_until(lambda: receiver.taken == ["message-late"], "the delivery")
    assert sink.stop(STOP_SECONDS) == []
    assert journal.close(5)
    said = capsys.readouterr().out
    assert said.count("outbox_not_read") == 1
    assert "Traceback" not in said


def test_a_message_that_another_replica_holds_back_is_not_asked_for_without_a_pause(
    outbox, receiver, deliver, monkeypatch
):
    due, looks, held = outbox.due, [], True

    def ask(*query):
        looks.append(time.monotonic())
        return [] if held else due(*query)

    monkeypatch.setattr(outbox, "due", ask)
    outbox.put([make_message("held")])
    deliver(sink=receiver.url)
    wait_until(lambda: len(looks) >= 5, "some looks in vain")
    assert looks[4] - looks[1] > 0.5
    held = False
    wait_until(lambda: receiver.taken == ["message-held"], "the delivery")


def test_however_many_messages_are_refused_for_ever_one_behind_them_is_delivered(
    outbox, receiver, deliver, monkeypatch
):
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 0.02)
    receiver.answer = lambda name: 400 if "bad" in name else 202
    outbox.put([make_message(f"bad-{number}") for number in range(60)])
    outbox.put([make_message("good")])
    deliver(sink=receiver.url)
    wait_until(lambda: receiver.taken == ["message-good"], "the good one")
