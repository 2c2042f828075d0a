"""What becomes of a batch of changes: written, refused, or kept in memory until the disk takes it.

A disk that refuses fails exactly the callers that wait; what has no caller stays in memory, in
order, until it can be written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from lambda_builder.journal.changes import DISK_FULL, Change, Verdict, unavailable

_RETRY_SECONDS = 1.0
_BREATH_SECONDS = 0.05
"""Pause between two slices of housekeeping while the disk is full."""


class Committer(Protocol):
    """Writes batches to what the journal is kept in. Used by one thread at a time."""

    failure: str | None
    """Why nothing can be recorded now; ``DISK_FULL`` where small changes may yet fit. Read by any
    thread."""

    def commit(self, changes: Sequence[Change]) -> Verdict:
        """Write ``changes`` in one transaction, all or none; raises nothing."""

    def probe(self) -> None:
        """See whether it can be written again; raises nothing."""

    def pause(self, *, idle: bool) -> float:
        """Return how many seconds may pass until ``keep_house`` has something to do."""

    def keep_house(self, *, idle: bool) -> None:
        """Do a short slice of what is due beside the changes; raises nothing."""

    def finish(self) -> None:
        """Leave it tidy at the end; raises nothing."""


class Batches:
    """Writes one batch at a time; its properties and ``pause`` may be asked by any thread.

    ``on_over`` is told of changes that were written or refused, before their callers are.
    """

    def __init__(
        self, committer: Committer, *, on_over: Callable[[Sequence[Change]], None]
    ) -> None:
        self._committer = committer
        self._on_over = on_over
        self._deferred: list[Change] = []
        self._retrying = 0
        self._retry_at = 0.0
        self._slice_at = 0.0

    @property
    def backlog(self) -> int:
        """How many changes are kept in memory, because the disk refused them."""
        return len(self._deferred) + self._retrying

    @property
    def deferred(self) -> bool:
        """Whether something waits until the disk takes it."""
        return bool(self._deferred)

    @property
    def troubled(self) -> bool:
        """Whether the disk has to be tried again before long."""
        return bool(self._deferred) or self._committer.failure is not None

    def pause(self, *, idle: bool) -> float:
        """Return how many seconds may pass until there is something to do without a new change.

        ``idle``: nothing else is to be done.
        """
        pause = self._committer.pause(idle=idle)
        if self.troubled:
            now = time.monotonic()
            # Moments, not spans: those who are refused ask again and again, and must not put off
            # what makes room for them.
            return min(max(0.0, self._retry_at - now), max(0.0, self._slice_at - now, pause))
        return pause

    def write(self, changes: list[Change]) -> None:
        """Write ``changes``, and what was put off, if there are any or it is time.

        Raises nothing; whoever waits for them is told.
        """
        try:
            self._write_all(changes)
        except Exception:  # noqa: BLE001 - logged; the journal must go on
            # Nothing is known to get here; whoever waits must not wait for ever.
            structlog.get_logger().exception("journal_writer_panic")
            for change in changes:
                change.fail(unavailable("journal cannot be written: internal error"))
        self._retrying = 0

    def keep_house(self, *, idle: bool) -> None:
        """Do a slice of what keeps the file small, if some is due; raises nothing."""
        self._slice_at = time.monotonic() + _BREATH_SECONDS
        try:
            self._committer.keep_house(idle=idle)
        except Exception:  # noqa: BLE001 - logged; the journal must go on
            structlog.get_logger().exception("journal_writer_panic")

    def end(self) -> None:
        """Leave one tidy file behind, or tell what was lost."""
        if self._deferred:
            structlog.get_logger().error(
                "journal_changes_lost",
                changes=len(self._deferred),
                reason=self._committer.failure,
            )
        else:
            self._committer.finish()

    # -- one batch -----------------------------------------------------------------------------

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
