"""JobMarks: notes on each Job what was announced of it, one call after the other, not too fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from lambda_builder.errors import AttemptFailed, Transient
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.labels import ANNOUNCED
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle.news import is_final, later
from lambda_builder.outgoing.messages import BuildNews

_GAP_SECONDS = 0.02
_BEHIND = 20
"""Ends that wait from which on there is no gap: what is noted along with a mark would be written
by itself where that comes too late, which makes two calls of one."""
_RETRY_SECONDS = 2.0
_REFUSED_SECONDS = 30.0
"""Pause after a refusal that only a change of permissions ends."""
_START_SECONDS = 2.0
"""How long the mark of a start waits: a short build's end makes a call of its own needless."""


class _Mark(NamedTuple):
    name: str
    news: BuildNews
    due: float


class JobMarks:
    """Marks that wait to be written; thread-safe. Of a Job's news only the last is written."""

    def __init__(
        self,
        watcher: JobWatcher,
        jobs: JobManager,
        *,
        available: Callable[[], bool],
        also: Callable[[JobRecord], Mapping[str, str]],
    ) -> None:
        """While ``available`` says that the API is away, nothing is written.

        ``also`` tells what else is to be noted on a Job: the same call does.
        """
        self._watcher = watcher
        self._jobs = jobs
        self._available = available
        self._also = also
        self._lock = threading.Lock()
        self._ends: dict[str, _Mark] = {}
        self._starts: dict[str, _Mark] = {}
        """By uid, the oldest first, as in ``_ends``."""
        self._next_at = 0.0

    def add(self, record: JobRecord, news: BuildNews) -> None:
        """Let ``news`` be noted on the Job."""
        with self._lock:
            if is_final(news):
                self._starts.pop(record.uid, None)
                self._ends[record.uid] = _Mark(record.name, news, 0.0)
            elif record.uid not in self._ends:
                due = time.monotonic() + _START_SECONDS
                self._starts[record.uid] = _Mark(record.name, news, due)

    def waits(self, uid: str) -> bool:
        """Return whether the mark of a Job's end waits to be written."""
        with self._lock:
            return uid in self._ends

    def forget(self, uid: str) -> None:
        """The Job is gone, or says it already."""
        with self._lock:
            self._ends.pop(uid, None)
            self._starts.pop(uid, None)

    def pause(self, longest: float) -> float:
        """Return the seconds until there is something to write, at most ``longest``."""
        with self._lock:
            dues = [next(iter(marks.values())).due for marks in (self._ends, self._starts) if marks]
        if not dues or not self._available():
            return longest
        return min(longest, max(0.001, max(self._next_at, min(dues)) - time.monotonic()))

    def write_next(self) -> bool:
        """Write one mark if it is time; False when there was nothing to do. For one thread."""
        now = time.monotonic()
        if now < self._next_at or not self._available():
            return False
        with self._lock:
            found = self._pop(now)
        if found is None:
            return False
        uid, mark = found
        record = self._watcher.by_name(mark.name)
        if record is None or record.uid != uid:
            return True
        if later(record.announced, mark.news) == record.announced:
            return True
        self._next_at = now if len(self._ends) >= _BEHIND else now + _GAP_SECONDS
        try:
            notes = {**self._also(record), ANNOUNCED: mark.news}
            self._jobs.patch_annotations(mark.name, notes, uid)
        except AttemptFailed as error:
            self._write_later(uid, mark.name, mark.news, error)
        return True

    def _pop(self, now: float) -> tuple[str, _Mark] | None:
        for marks in (self._ends, self._starts):
            uid = next(iter(marks), None)
            if uid is not None and marks[uid].due <= now:
                return uid, marks.pop(uid)
        return None

    def _write_later(self, uid: str, name: str, news: BuildNews, error: AttemptFailed) -> None:
        delay = _REFUSED_SECONDS
        if isinstance(error, Transient):
            delay = max(_RETRY_SECONDS, error.retry_after or 0.0)
        structlog.get_logger().warning("job_not_marked", job_name=name, error=str(error))
        self._next_at = time.monotonic() + delay
        with self._lock:
            if uid not in self._ends:
                marks = self._ends if is_final(news) else self._starts
                marks[uid] = _Mark(name, news, 0.0)
