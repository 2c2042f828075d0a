"""The one thread that writes: whatever waits shares a transaction and, where needed, an fsync.

While one commit is under way the next changes gather, so batches grow with the load and an idle
journal commits at once. A disk that refuses fails exactly the callers that wait; what has no
caller stays in memory, in order, until it can be written.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog

from lambda_builder.journal.changes import Change, unavailable
from lambda_builder.journal.committer import Committer, Verdict
from lambda_builder.journal.sqlite_errors import DISK_FULL

_RETRY_SECONDS = 1.0
_CLOSING_RETRY_SECONDS = 0.05
_BREATH_SECONDS = 0.05
"""Pause between two slices of housekeeping while the disk is full."""
_STUCK_SECONDS = 10.0
"""Longest time that a change waits for the writer to take it up."""


class Writer:
    """Writes changes in the order they came; its public methods are thread-safe.

    ``on_over`` is told, in the writer's thread, of changes that were written, refused or lost.
    """

    def __init__(
        self, committer: Committer, *, on_over: Callable[[Sequence[Change]], None]
    ) -> None:
        self._committer = committer
        self._on_over = on_over
        self._wake = threading.Condition()
        self._queue: list[Change] = []
        self._deferred: list[Change] = []
        self._retrying = 0
        self._closing_until: float | None = None
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    @property
    def backlog(self) -> int:
        """How many changes are kept in memory, because the disk refused them or to be next."""
        return len(self._deferred) + self._retrying + len(self._queue)

    @property
    def running(self) -> bool:
        """Whether the thread still uses the database."""
        return self._thread.is_alive()

    def queue(self, change: Change) -> None:
        """Have ``change`` written, however long that takes; does not wait.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``) once the journal is closed.
        """
        with self._wake:
            if self._closing_until is not None:
                raise unavailable("journal is closed")
            if self._thread.ident is None:
                raise unavailable("journal is not open yet")
            self._queue.append(change)
            self._wake.notify()

    def write(self, change: Change) -> None:
        """Write ``change`` and wait for its commit.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``); then nothing of it is kept.
        """
        ticket = change.ticket = Future()
        self.queue(change)
        try:
            ticket.result(_STUCK_SECONDS)
        except TimeoutError:
            self._withdraw(change)
            # The writer has it: whether it is on the disk is known when the disk answers.
            ticket.result()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was queued before is in the file; False when time was up.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``) once the journal is closed.
        """
        ticket: Future[None] = Future()
        self.queue(Change(ticket=ticket, patient=True))
        try:
            ticket.result(timeout)
        except TimeoutError:
            return False
        return True

    def close(self, timeout: float) -> bool:
        """Write what is left and end the thread; False when that did not succeed.

        Harmless twice, or before ``start``.
        """
        with self._wake:
            if self._closing_until is None:
                self._closing_until = time.monotonic() + timeout
            self._wake.notify()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout + _CLOSING_RETRY_SECONDS)
        return not self._thread.is_alive() and not self._deferred

    def _withdraw(self, change: Change) -> None:
        with self._wake:
            if change not in self._queue:
                return
            self._queue.remove(change)
        self._on_over([change])
        raise unavailable("journal cannot be written: the disk does not answer")

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._done():
            changes = self._next()
            try:
                self._write_all(changes)
                if self._closing_until is None:
                    self._committer.keep_house(idle=not changes)
            except Exception:  # noqa: BLE001 - logged; the thread must live
                # Nothing is known to get here; whoever waits must not wait for ever.
                structlog.get_logger().exception("journal_writer_panic")
                for change in changes:
                    change.fail(unavailable("journal cannot be written: internal error"))
            self._retrying = 0
        if self._deferred:
            structlog.get_logger().error(
                "journal_changes_lost",
                changes=len(self._deferred),
                reason=self._committer.failure,
            )
        else:
            self._committer.finish()

    def _done(self) -> bool:
        with self._wake:
            if self._closing_until is None or self._queue:
                return False
            return not self._deferred or time.monotonic() >= self._closing_until

    def _next(self) -> list[Change]:
        with self._wake:
            if not self._queue:
                self._wake.wait(self._pause())
            changes, self._queue = self._queue, []
        return changes

    def _pause(self) -> float:
        if self._closing_until is not None:
            return _CLOSING_RETRY_SECONDS if self._deferred else 0.0
        if self._deferred or self._committer.failure is not None:
            until_retry = max(0.0, self._retry_at - time.monotonic())
            return min(until_retry, max(_BREATH_SECONDS, self._committer.pause()))
        return self._committer.pause()

    def _write_all(self, changes: list[Change]) -> None:
        deferred: list[Change] = []
        if changes or time.monotonic() >= self._retry_at:
            self._retrying = len(self._deferred)
            deferred, self._deferred = self._deferred, []
        if deferred and not self._write_together(deferred):
            changes = [*deferred, *changes]
        elif changes:
            if self._write_together(changes):
                return
        else:
            self._probe()
            return
        self._put_off(self._write_what_fits(changes))

    def _probe(self) -> None:
        if self._committer.failure is not None and time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            self._committer.probe()

    def _write_what_fits(self, changes: Sequence[Change]) -> list[Change]:
        """On a full disk write what there is room for, one by one; returns what there is not.

        The smallest come first, and so deliveries, which free room; the order of the changes to
        one build or message is kept.
        """
        if self._committer.failure != DISK_FULL:
            return list(changes)
        left: set[Change] = set()
        stuck: set[str] = set()
        for change in _smallest_first(changes):
            waits = change.intake or stuck & change.touches or (left and not change.rows)
            if waits or not self._write_together([change]):
                left.add(change)
                stuck |= change.touches
        return [change for change in changes if change in left]

    def _write_together(self, changes: list[Change]) -> bool:
        """Write ``changes``; False when the file or the disk is to blame.

        Where one change is to blame, they are written one by one.
        """
        verdict = self._committer.commit(changes)
        if verdict is Verdict.UNAVAILABLE:
            return False
        if verdict is Verdict.WRITTEN:
            self._on_over(changes)
            for change in changes:
                change.succeed()
        elif len(changes) > 1:
            self._write_each(changes)
        else:
            self._refuse(changes, "it cannot be stored")
        return True

    def _write_each(self, changes: list[Change]) -> None:
        for number, change in enumerate(changes):
            if not self._write_together([change]):
                self._put_off(changes[number:])
                return

    def _put_off(self, changes: Sequence[Change]) -> None:
        """Refuse what somebody waits for, keep the rest in its order."""
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        self._deferred += [change for change in changes if not change.refusable]
        refused = [change for change in changes if change.refusable]
        self._refuse(refused, self._committer.failure or "internal error")

    def _refuse(self, changes: Sequence[Change], reason: str) -> None:
        self._on_over(changes)
        for change in changes:
            change.fail(unavailable(f"journal cannot be written: {reason}"))


def _smallest_first(changes: Sequence[Change]) -> list[Change]:
    """Sort by size, no change before an earlier one to the same build or message.

    What only waits for the others comes last.
    """
    sizes: dict[str, float] = {}
    weights: dict[Change, float] = {}
    for change in changes:
        size = change.bytes if change.rows else math.inf
        weight = max((size, *(sizes.get(key, 0) for key in change.touches)))
        weights[change] = weight
        sizes.update(dict.fromkeys(change.touches, weight))
    return sorted(changes, key=lambda change: weights[change])
