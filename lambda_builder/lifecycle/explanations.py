"""Explanations: which ends' news is held until it is known what the Job does not say itself.

Why it failed, or what it pushed; and for how long at most.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle.diagnosis import JobDiagnosis

_LONGEST_SECONDS = 15.0
"""A node that died answers nothing about the builds that ended with it."""
_MOST = 64
"""Ended Jobs that are asked about at a time; the others wait for their turn."""


class Explanations:
    """Used under its owner's lock; ``diagnosis`` finds out in a thread, so that nobody waits.

    A Job that is held costs nothing until ``over`` gives it back, however many are.
    """

    def __init__(
        self, diagnosis: JobDiagnosis, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._diagnosis = diagnosis
        self._clock = clock
        self._since: dict[str, float] = {}
        """Ended Jobs that were asked about, by uid, and since when; until they are forgotten."""
        self._held: dict[str, str] = {}
        """Names of those, by uid, whose explanation is waited for."""
        self._queued: dict[str, str] = {}
        """Names of those, by uid, that are to be asked about, the oldest first."""
        self._turns: set[str] = set()
        """Those whose turn it is, by uid, until they are looked at."""

    def holds(self, record: JobRecord) -> bool:
        """Return whether more may soon be known of an ended Job, and see to it that it is.

        It is held from then on, where that is so.
        """
        uid = record.uid
        if self._diagnosis.is_explained(record):
            return False
        if uid in self._since:
            if not self._goes_on(uid):
                return False
        elif uid in self._turns or (self._room > 0 and not self._queued):
            self._diagnosis.explain_soon(record)
            self._turns.discard(uid)
            self._since[uid] = self._clock()
        else:
            self._queued[uid] = record.name
            return True
        self._held[uid] = record.name
        return True

    def over(self) -> dict[str, str]:
        """Return the names, by uid, of Jobs to be looked at again; they are held no longer.

        Those that were explained, or are waited for no longer, and those whose turn it is.
        """
        again = {uid: name for uid, name in self._held.items() if not self._goes_on(uid)}
        for uid in again:
            del self._held[uid]
        for uid in self._diagnosis.explained(self._queued):
            again[uid] = self._queued.pop(uid)
        for uid in [*itertools.islice(self._queued, self._room)]:
            again[uid] = self._queued.pop(uid)
            self._turns.add(uid)
        return again

    @property
    def _room(self) -> int:
        return _MOST - len(self._since) - len(self._turns)

    def let_go(self, uid: str) -> None:
        """Hold that one no longer: more may be known of it by now."""
        self._held.pop(uid, None)
        self._queued.pop(uid, None)

    def forget(self, uid: str) -> None:
        """Wait for that one no longer: it is told of, or gone."""
        self.let_go(uid)
        self._turns.discard(uid)
        self._since.pop(uid, None)

    def forget_all(self) -> None:
        """Wait for none."""
        self._since.clear()
        self._held.clear()
        self._queued.clear()
        self._turns.clear()

    def _goes_on(self, uid: str) -> bool:
        in_time = self._clock() - self._since[uid] < _LONGEST_SECONDS
        return in_time and self._diagnosis.is_explaining(uid)
