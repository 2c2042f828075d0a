"""What is due of the messages in memory, as a look at each of them would find it."""

from __future__ import annotations

import weakref
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lambda_builder.journal import OutboxMessage
from lambda_builder.journal.waiting_messages import WaitingMessages

IDS = st.sampled_from([f"message-{number}" for number in range(12)])
KEYS = st.sampled_from("abc")
TIMES = st.integers(0, 5).map(float)


class AgainstALookAtEach(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.waiting = WaitingMessages()
        self.model: dict[str, tuple[OutboxMessage, float]] = {}

    def firsts(self):
        found = {}
        for message, due_at in self.model.values():
            found.setdefault(message.key, (message, due_at))
        return found.values()

    @rule(message_id=IDS, key=KEYS, body=st.binary(max_size=2))
    def put(self, message_id, key, body):
        message = OutboxMessage("sink", key, {}, body, message_id)
        self.waiting.put(message)
        known, due_at = self.model.get(message_id, (None, 0.0))
        if known is None or known.key != key:
            self.model.pop(message_id, None)
            self.model[message_id] = message, 0.0
        else:
            self.model[message_id] = replace(message, attempts=known.attempts), due_at

    @rule(message_id=IDS)
    def remove(self, message_id):
        message, _ = self.model.pop(message_id, (None, 0.0))
        keys = [other.key for other, _ in self.model.values()]
        assert self.waiting.remove(message_id) == (message is not None and message.key in keys)

    @rule(message_id=IDS, next_at=TIMES)
    def put_off(self, message_id, next_at):
        self.waiting.put_off(message_id, next_at)
        if message_id in self.model:
            message, _ = self.model[message_id]
            self.model[message_id] = replace(message, attempts=message.attempts + 1), next_at

    @rule(now=TIMES, limit=st.integers(0, 4))
    def due(self, now, limit):
        due = sorted((pair for pair in self.firsts() if pair[1] <= now), key=lambda pair: pair[1])
        assert self.waiting.due(now, limit) == [message for message, _ in due][:limit]

    @invariant()
    def it_knows_what_is_there_and_what_is_next(self):
        assert len(self.waiting) == len(self.model)
        assert self.waiting.next_due() == min((at for _, at in self.firsts()), default=None)
        first = next((message for message, _ in self.model.values()), None)
        assert self.waiting.first() == first


AgainstALookAtEach.TestCase.settings = settings(max_examples=200, stateful_step_count=60)
TestWaitingMessages = AgainstALookAtEach.TestCase


def test_what_was_put_off_often_leaves_nothing_behind():
    waiting = WaitingMessages()
    for number in range(10):
        waiting.put(OutboxMessage("sink", f"key-{number}", {}, b"", f"message-{number}"))
    for time in range(1000):
        waiting.put_off("message-3", float(time))
    assert len(waiting._entries) < 200
    assert len(waiting.due(2000.0, 100)) == 10


def test_what_was_taken_out_is_kept_by_nothing():
    class Message(OutboxMessage):
        """One that can be referred to weakly."""

    waiting, gone = WaitingMessages(), []
    for number in range(50):
        message = Message("sink", f"key-{number}", {}, b"", f"message-{number}")
        gone.append(weakref.ref(message))
        waiting.put(message)
        waiting.remove(message.id)
        del message
    assert [each() for each in gone] == [None] * 50
