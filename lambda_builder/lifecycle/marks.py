"""JobMarks: notes on each Job what was announced of it, one call after the other, not too fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from lambda_builder.errors import AttemptFailed, Transient
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.labels import ANNOUNCED
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle.news import later
from lambda_builder.outgoing.messages import BuildNews

_GAP_SECONDS = 0.02
_RETRY_SECONDS = 2.0
_REFUSED_SECONDS = 30.0
"""Pause after a refusal that only a change of permissions ends."""


class JobMarks:
    """Marks that wait to be written; thread-safe. Of a Job's news only the last is written."""

    def __init__(
        self, watcher: JobWatcher, jobs: JobManager, *, available: Callable[[], bool]
    ) -> None:
        """While ``available`` says that the API is away, nothing is written."""
        self._watcher = watcher
        self._jobs = jobs
        self._available = available
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[str, BuildNews]] = {}
        self._next_at = 0.0

    def add(self, record: JobRecord, news: BuildNews) -> None:
        """Let ``news`` be noted on the Job."""
        with self._lock:
            self._waiting[record.uid] = record.name, news

    def forget(self, uid: str) -> None:
        """The Job is gone, or says it already."""
        with self._lock:
            self._waiting.pop(uid, None)

    def pause(self, longest: float) -> float:
        """Return the seconds until there is something to write, at most ``longest``."""
        if not self._waiting or not self._available():
            return longest
        return min(longest, max(0.001, self._next_at - time.monotonic()))

    def write_next(self) -> bool:
        """Write one mark if it is time; False when there was nothing to do. For one thread."""
        if time.monotonic() < self._next_at or not self._available():
            return False
        with self._lock:
            uid = next(iter(self._waiting), None)
            if uid is None:
                return False
            name, news = self._waiting.pop(uid)
        record = self._watcher.by_name(name)
        if record is None or record.uid != uid or later(record.announced, news) == record.announced:
            return True
        self._next_at = time.monotonic() + _GAP_SECONDS
        try:
            self._jobs.patch_annotations(name, {ANNOUNCED: news}, uid)
        except AttemptFailed as error:
            self._write_later(uid, name, news, error)
        return True

    def _write_later(self, uid: str, name: str, news: BuildNews, error: AttemptFailed) -> None:
        delay = _REFUSED_SECONDS
        if isinstance(error, Transient):
            delay = max(_RETRY_SECONDS, error.retry_after or 0.0)
        structlog.get_logger().warning("job_not_marked", job_name=name, error=str(error))
        self._next_at = time.monotonic() + delay
        with self._lock:
            self._waiting.setdefault(uid, (name, news))
