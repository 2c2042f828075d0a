"""Whose turn it is to write: one that waits writes for all that wait, then another one does.

While one commit is under way the next changes gather, so batches grow with the load; an idle
journal commits at once, in the thread that asked. What nobody waits for is written with the next
change that somebody waits for, or soon by a thread of its own, which also keeps house and tries
again what the disk refused.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

from lambda_builder.journal.batches import Batches, Committer
from lambda_builder.journal.changes import Change, Ticket, unavailable

_ENDING_SECONDS = 0.05
"""What the thread may take to end once its time is up."""
STUCK_SECONDS = 10.0
"""Longest time that a change waits to be taken up."""


class Writer:
    """Writes changes in the order they came; its public methods are thread-safe.

    ``on_over`` is told of changes that were written, refused or lost, before their callers are.
    What nobody waits for gathers for ``gather_seconds``.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        on_over: Callable[[Sequence[Change]], None],
        gather_seconds: float = 0.0,
    ) -> None:
        self._gather_seconds = gather_seconds
        self._on_over = on_over
        self._batches = Batches(committer, on_over=on_over)
        self._lock = threading.Lock()
        self._called = threading.Condition(self._lock)
        """Where the thread waits."""
        self._queue: list[Change] = []
        self._due_at = 0.0
        """By when what is queued has to be taken up, on the monotonic clock."""
        self._asleep_until = 0.0
        """When the thread looks again unless it is called."""
        self._taken = False
        """Somebody has the turn; nobody else uses the batches and the database."""
        self._handed = False
        """The turn is the thread's, which is on its way."""
        self._wanted = False
        """The thread waits for the turn."""
        self._closing_until: float | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    @property
    def backlog(self) -> int:
        """How many changes are kept in memory, because the disk refused them or to be next."""
        return self._batches.backlog + len(self._queue)

    @property
    def running(self) -> bool:
        """Whether somebody may still use the database."""
        return self._thread.is_alive()

    def queue(self, change: Change) -> None:
        """Have ``change`` written, however long that takes; does not wait.

        One with a ``Notice`` may be refused, and tells it. Raises ``Refused``
        (``JOURNAL_UNAVAILABLE``) once the journal is closed.
        """
        with self._lock:
            self._add(change)
            if not self._taken:
                self._call_thread()

    def write(self, change: Change) -> None:
        """Write ``change`` and wait for its commit.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``); then nothing of it is kept.
        """
        ticket = change.ticket = Ticket()
        with self._lock:
            self._add(change)
            others_turn, self._taken = self._taken, True
        if others_turn and not ticket.wait(STUCK_SECONDS):
            self.withdraw(change)
            # It was taken up: whether it is on the disk is known when that answers.
            ticket.wait(None)
        if not ticket.over:
            self._write_for_all()
        ticket.check()

    def withdraw(self, change: Change) -> None:
        """Refuse ``change`` unless it was taken up, or its caller is about to."""
        with self._lock:
            is_called = isinstance(change.ticket, Ticket) and change.ticket.called
            if is_called or change not in self._queue:
                return
            self._queue.remove(change)
        self._on_over([change])
        change.fail(unavailable("journal cannot be written: what comes first takes too long"))

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued before is in the file; False when time was up.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``) once the journal is closed.
        """
        ticket = Ticket()
        self.queue(Change(ticket=ticket, patient=True))
        if not ticket.wait(timeout):
            return False
        ticket.check()
        return True

    def close(self, timeout: float) -> bool:
        """Write what is left and end the thread; False when that did not succeed.

        Harmless twice, or before ``start``.
        """
        with self._lock:
            if self._closing_until is None:
                self._closing_until = time.monotonic() + timeout
            self._called.notify()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout + _ENDING_SECONDS)
        return not self._thread.is_alive() and not self._batches.deferred

    def _add(self, change: Change) -> None:
        if self._closing_until is not None:
            raise unavailable("journal is closed")
        if self._thread.ident is None:
            raise unavailable("journal is not open yet")
        if change.ticket is not None or change.soon:
            self._due_at = 0.0
        elif not self._queue:
            self._due_at = time.monotonic() + self._gather_seconds
        self._queue.append(change)

    def _call_thread(self) -> None:
        """Wake the thread if it would take up what is queued too late."""
        if self._due_at < self._asleep_until:
            self._called.notify()

    # -- turns ---------------------------------------------------------------------------------

    def _write_for_all(self) -> None:
        """Write all that is queued; for whoever has the turn, which goes on to another."""
        with self._lock:
            changes, self._queue = self._queue, []
        try:
            self._batches.write(changes)
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give the turn to the thread if it has something to do, else to the first who waits."""
        with self._lock:
            pause = self._pause(idle=False)
            if pause <= 0 or self._wanted:
                self._handed = True
                self._called.notify()
                return
            for change in self._queue:
                if change.refusable and isinstance(change.ticket, Ticket):
                    change.ticket.call()
                    return
            self._taken = False
            if self._batches.troubled:
                self._called.notify()
            elif self._queue:
                self._call_thread()

    def _pause(self, *, idle: bool) -> float:
        """Return how many seconds the thread may leave the turn to others."""
        if self._closing_until is None:
            return self._batches.pause(idle=idle)
        if not self._batches.deferred:
            return 0.0
        return min(self._batches.pause(idle=idle), self._closing_until - time.monotonic())

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while (changes := self._take_turn()) is not None:
            self._batches.write(changes)
            if self._closing_until is None:
                self._batches.keep_house(idle=not changes)
            self._pass_on()
        self._batches.end()

    def _take_turn(self) -> list[Change] | None:
        """Wait for the turn and something to do; None at the end, when the turn is kept."""
        with self._lock:
            while not self._handed:
                pause, now = self._pause(idle=not self._taken), time.monotonic()
                until = now + pause
                if self._queue and not self._taken:
                    until = min(until, self._due_at)
                if not self._taken and until <= now:
                    break
                self._wanted = pause <= 0
                self._asleep_until = math.inf if self._wanted else until
                self._called.wait(None if self._wanted else until - now)
            self._taken, self._handed, self._wanted = True, False, False
            if self._done():
                return None
            changes, self._queue = self._queue, []
        return changes

    def _done(self) -> bool:
        if self._closing_until is None or self._queue:
            return False
        return not self._batches.deferred or time.monotonic() >= self._closing_until
