"""ActiveJobsCap: lets workers take builds only while there is room for another unfinished Job.

Exact for one replica. Replicas see each other's Jobs through the watch only, so together they may
pass the cap by as many Jobs as they have workers that were let through at the same moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lambda_builder.kube.watcher import JobChange, JobWatcher

_LOOK_SECONDS = 0.25
"""How often a waiting worker looks at the event that ends it, and at what makes no noise."""
_UNSEEN_SECONDS = 30.0
"""Longest time that a Job counts which a working watch does not show: it has come and gone."""


class ActiveJobsCap:
    """At most ``maximum`` unfinished Jobs, 0 for no cap; thread-safe.

    A thread that ``may_take`` let through holds a permit until it says ``created``, asks again or
    ends, so that none is lost by a thread that found nothing to do.
    """

    def __init__(
        self,
        watcher: JobWatcher,
        maximum: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watcher = watcher
        self._maximum = maximum
        self._clock = clock
        self._changed = threading.Condition()
        self._permits: set[threading.Thread] = set()
        self._unseen: dict[str, float] = {}
        """When the Jobs, by uid, were created that the watch has not shown yet."""
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Workers that are held back by the cap."""
        return self._waiting

    def may_take(self, stopping: threading.Event) -> bool:
        """Wait for room, then give this thread a permit; False, soon, once ``stopping`` is set.

        Until the watch has read all Jobs there are, there is no room.
        """
        if self._maximum == 0:
            return True
        thread = threading.current_thread()
        with self._changed:
            self._permits.discard(thread)
            if not self._has_room():
                self._wait_for_room(stopping)
            if stopping.is_set():
                self._changed.notify()
                return False
            self._permits.add(thread)
            return True

    def created(self, name: str, uid: str) -> None:
        """The calling thread's build has a Job: what counts now is the Job, not the permit."""
        if self._maximum == 0:
            return
        with self._changed:
            self._permits.discard(threading.current_thread())
            record = self._watcher.by_name(name)
            if record is None or record.uid != uid:
                self._unseen[uid] = self._clock()
            self._changed.notify()

    def job_changed(self, change: JobChange) -> None:
        """Listen to the watcher: a Job that it shows counts there, one that ended no more."""
        if self._maximum == 0:
            return
        with self._changed:
            self._unseen.pop(change.record.uid, None)
            if self._waiting:
                self._changed.notify_all()

    # -- with the lock held --------------------------------------------------------------------

    def _wait_for_room(self, stopping: threading.Event) -> None:
        self._waiting += 1
        try:
            while not stopping.is_set() and not self._has_room():
                self._changed.wait(_LOOK_SECONDS)
        finally:
            self._waiting -= 1

    def _has_room(self) -> bool:
        if not self._watcher.synced:
            return False
        self._permits = {thread for thread in self._permits if thread.is_alive()}
        if self._unseen and self._watcher.following:
            oldest = self._clock() - _UNSEEN_SECONDS
            self._unseen = {uid: at for uid, at in self._unseen.items() if at > oldest}
        taken = self._watcher.active_count + len(self._unseen) + len(self._permits)
        return taken < self._maximum
