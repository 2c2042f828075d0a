"""What stands in for the journal where none is wanted: nothing is recorded, nothing survives."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from lambda_builder.builds import BuildRequest, BuildResult, CommandRequest
from lambda_builder.journal.alone import Alone
from lambda_builder.journal.interface import Claim
from lambda_builder.journal.news import News
from lambda_builder.journal.recordings import Recorded
from lambda_builder.journal.values import (
    AUDIT_KEPT,
    Destination,
    OpenBuild,
    OpenReport,
    OutboxMessage,
)

OUTBOX_MAX = 10_000
OUTBOX_MAX_BYTES = 64 * 1024 * 1024
"""What waits in memory; beyond it the oldest events are dropped and counted, and dead letters only
where nothing else is left."""


@dataclass(slots=True)
class _Waiting:
    message: OutboxMessage
    due_at: float


class MemoryOutbox(News):
    """The ``Outbox`` without a journal: the same rules, but bounded and gone with the process."""

    def __init__(self, *, most: int = OUTBOX_MAX, most_bytes: int = OUTBOX_MAX_BYTES) -> None:
        super().__init__()
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0
        self.now = time.monotonic
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._keys: Counter[tuple[Destination, str]] = Counter()
        """How many messages wait of each key."""
        self.dropped = 0
        """Messages dropped for want of room."""

    def put(
        self, messages: Sequence[OutboxMessage], *, durable: bool = False, soon: bool = False
    ) -> None:
        """See ``Outbox.put``; ``durable`` and ``soon`` change nothing."""
        dropped = 0
        with self._lock:
            for message in messages:
                known = self._waiting.get(message.id)
                self._bytes += _size(message)
                self._keys[_key(message)] += 1
                if known is None:
                    self._waiting[message.id] = _Waiting(message, 0.0)
                else:
                    self._bytes -= _size(known.message)
                    self._keys[_key(known.message)] -= 1
                    known.message = replace(message, attempts=known.message.attempts)
            while len(self._waiting) > self._most or self._bytes > self._most_bytes:
                self._remove(self._least_wanted())
                dropped += 1
            self.dropped += dropped
        if dropped:
            structlog.get_logger().warning("outbox_messages_dropped", messages=dropped)
        if messages:
            self.nudge()

    def due(self, now: float, limit: int, destination: Destination) -> list[OutboxMessage]:
        """See ``Outbox.due``."""
        first: dict[str, _Waiting] = {}
        with self._lock:
            for waiting in self._waiting.values():
                if waiting.message.destination == destination:
                    first.setdefault(waiting.message.key, waiting)
            due = [waiting for waiting in first.values() if waiting.due_at <= now]
            longest = heapq.nsmallest(limit, due, key=lambda waiting: waiting.due_at)
            return [waiting.message for waiting in longest]

    def next_due(self, destination: Destination) -> float | None:
        """See ``Outbox.next_due``."""
        first: dict[str, float] = {}
        with self._lock:
            for waiting in self._waiting.values():
                if waiting.message.destination == destination:
                    first.setdefault(waiting.message.key, waiting.due_at)
        return min(first.values(), default=None)

    def delivered(self, message_id: str) -> None:
        """See ``Outbox.delivered``."""
        with self._lock:
            held = self._remove(message_id)
        if held:
            self.nudge()

    def failed(self, message_id: str, next_at: float) -> None:
        """See ``Outbox.failed``."""
        with self._lock:
            waiting = self._waiting.get(message_id)
            if waiting is not None:
                message = waiting.message
                waiting.message = replace(message, attempts=message.attempts + 1)
                waiting.due_at = next_at

    def pending(self, destination: Destination | None = None) -> int:
        """See ``Outbox.pending``."""
        with self._lock:
            if destination is None:
                return len(self._waiting)
            return sum(
                waiting.message.destination == destination for waiting in self._waiting.values()
            )

    # -- with the lock held --------------------------------------------------------------------

    def _remove(self, message_id: str) -> bool:
        """Return whether a message waits that was held back by this one."""
        waiting = self._waiting.pop(message_id, None)
        if waiting is None:
            return False
        self._bytes -= _size(waiting.message)
        key = _key(waiting.message)
        self._keys[key] -= 1
        if self._keys[key]:
            return True
        del self._keys[key]
        return False

    def _least_wanted(self) -> str:
        events = (i for i, w in self._waiting.items() if w.message.destination == "sink")
        return next(events, None) or next(iter(self._waiting))


def _key(message: OutboxMessage) -> tuple[Destination, str]:
    return message.destination, message.key


def _size(message: OutboxMessage) -> int:
    return len(message.body) + sum(len(name) + len(text) for name, text in message.headers.items())


class NoJournal(Alone):
    """``Journal`` for memory-only operation: recording costs nothing and promises nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = MemoryOutbox()
        self._lock = threading.Lock()
        self._noted = {kind: deque[tuple[int, bytes]](maxlen=n) for kind, n in AUDIT_KEPT.items()}
        self._last_note = 0

    durable = False
    """Nothing outlasts the process."""
    available = True
    """Nothing can keep it from not being written."""

    def open(self) -> OpenReport:
        """Find nothing."""
        return OpenReport()

    def record(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> dict[str, BuildResult]:
        """Do nothing."""
        return {}

    def recording(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> Recorded:
        """Do nothing."""
        return Recorded()

    def attempt(self, event_hash: str, attempts: int) -> Claim:
        """Grant it."""
        return Claim.GRANTED

    def take_back_attempt(self, event_hash: str, attempts: int, *, has_job: bool) -> None:
        """Do nothing."""

    def finish(self, result: BuildResult, messages: Sequence[OutboxMessage] = ()) -> None:
        """Put ``messages`` into the outbox."""
        self.outbox.put(messages)

    def forget(self, event_hash: str) -> None:
        """Do nothing."""

    def reopen(self, request: BuildRequest) -> bool:
        """Let it go again."""
        return True

    def keep_commands(self, requests: Sequence[CommandRequest]) -> None:
        """Do nothing."""

    def drop_command(self, event_hash: str) -> None:
        """Do nothing."""

    def commands(self) -> list[CommandRequest]:
        """Find nothing."""
        return []

    def note(self, entries: Sequence[bytes], *, refused: bool) -> None:
        """Keep entries of the audit in memory."""
        with self._lock:
            for entry in entries:
                self._last_note += 1
                self._noted[refused].append((self._last_note, entry))

    def audit(self, *, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """Return what is kept of the audit."""
        with self._lock:
            noted = heapq.merge(*map(reversed, self._noted.values()), reverse=True)
            older = (each for each in noted if before is None or each[0] < before)
            return [*itertools.islice(older, limit)]

    def left_open(self) -> int:
        """Find nothing."""
        return 0

    def take_over(self, limit: int) -> list[OpenBuild]:
        """Find nothing."""
        return []

    def left_behind(self, limit: int) -> list[OpenBuild]:
        """Find nothing."""
        return []

    def take(self, event_hash: str, *, from_others: bool) -> OpenBuild | None:
        """Find nothing."""
        return None

    def find(self, event_hash: str) -> BuildResult | None:
        """Find nothing."""
        return None

    def remembers(self, event_hash: str) -> bool:
        """Tell that there is nothing to be found."""
        return False

    def find_by_id(self, build_id: str) -> list[BuildResult]:
        """Find nothing."""
        return []

    def finished(self, *, states: Sequence[str], limit: int) -> list[BuildResult]:
        """Find nothing."""
        return []

    def flush(self, timeout: float) -> bool:
        """Have nothing to write."""
        return True

    def close(self, timeout: float) -> bool:
        """Have nothing to close."""
        return True

    def stats(self) -> dict[str, int]:
        """Return the outbox's counts only."""
        return {"outbox": self.outbox.pending(), "outbox_dropped": self.outbox.dropped}
