"""BuildLogs: a build's log from its first line to its last, wherever the build is in its life.

A thread per open log reads ahead, so that whoever passes the log on hears every second that
nothing came, and can go at any moment. How many may be open at a time the web layer bounds.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import structlog

from lambda_builder.builds import BuildResult
from lambda_builder.errors import AttemptFailed, FailureReason, RefusalCode, Refused
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.logs import JobLog, NoLog
from lambda_builder.kube.pods import PodReader
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.problems import kubernetes_failed

_HEARTBEAT_SECONDS = 1.0
_CHUNKS = 16
"""Chunks, of at most 64 KiB each, that are read ahead of a slow reader."""
_GRACE_SECONDS = 10.0
"""A log that is still open so long after its Job ended has lost its other side."""


class BuildLogs:
    """Opens logs; thread-safe.

    ``current`` returns what is known of an event's build, to see whether a Job may still come.
    """

    def __init__(
        self,
        jobs: JobManager,
        pods: PodReader,
        watcher: JobWatcher,
        current: Callable[[str], BuildResult | None],
        *,
        wait_seconds: float = 900.0,
        grace_seconds: float = _GRACE_SECONDS,
    ) -> None:
        """A log that is followed ends when no container runs for ``wait_seconds``."""
        self._jobs = jobs
        self._pods = pods
        self._watcher = watcher
        self._current = current
        self._wait_seconds = wait_seconds
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        self._readers: set[LogReader] = set()
        self._shut_down = False

    def open(self, result: BuildResult, *, follow: bool) -> LogReader:
        """Return the log of a build; with ``follow`` it goes on until the build ends.

        Raises ``Refused``: ``NOT_FOUND`` where there is no log and none will come,
        ``KUBERNETES_UNAVAILABLE``, ``KUBERNETES_REFUSED``, ``SHUTTING_DOWN``.
        """
        name, event_hash = result.request.job_name, result.request.event_hash
        log = JobLog(self._jobs, self._pods, name, event_hash, wait_seconds=self._wait_seconds)
        if not follow and result.state.waits:
            raise _no_log(f"build {name} still waits for its Job (state {result.state.value})")
        try:
            if follow:
                if not result.state.waits and log.job() is None:
                    raise NoLog(f"Job {name} does not exist")
                chunks = log.follow(lambda: self._may_come(event_hash))
            else:
                chunks = log.whole()
        except NoLog as error:
            raise _no_log(str(error)) from error
        except AttemptFailed as error:
            raise kubernetes_failed(error, "the log was not opened") from error
        return self._start(name, log, chunks)

    def shutdown(self) -> None:
        """End all logs at once, and open no more."""
        with self._lock:
            self._shut_down = True
            readers = list(self._readers)
        for reader in readers:
            reader.close()

    def _start(self, name: str, log: JobLog, chunks: Generator[bytes]) -> LogReader:
        reader = LogReader(
            log,
            chunks,
            is_over=lambda: self._is_over(name),
            grace_seconds=self._grace_seconds,
            on_close=self._forget,
        )
        with self._lock:
            self._readers.add(reader)
            shut_down = self._shut_down
        if shut_down:
            reader.close()
            raise Refused(RefusalCode.SHUTTING_DOWN, "shutting down", retry_after=5)
        reader.start()
        return reader

    def _forget(self, reader: LogReader) -> None:
        with self._lock:
            self._readers.discard(reader)

    def _may_come(self, event_hash: str) -> bool:
        known = self._current(event_hash)
        return known is not None and known.state.waits

    def _is_over(self, name: str) -> bool:
        record = self._watcher.by_name(name)
        return self._watcher.following and record is not None and not record.active


class LogReader(Iterator[bytes]):
    """One open log: an iterator for one thread, to be closed by anyone.

    Empty chunks say that nothing came for a second. Raises ``AttemptFailed`` where the log cannot
    be read further.
    """

    def __init__(
        self,
        log: JobLog,
        chunks: Generator[bytes],
        *,
        is_over: Callable[[], bool],
        grace_seconds: float,
        on_close: Callable[[LogReader], None],
    ) -> None:
        self._log = log
        self._source = chunks
        self._is_over = is_over
        self._grace_seconds = grace_seconds
        self._on_close = on_close
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_CHUNKS)
        self._closed = threading.Event()
        self._error: AttemptFailed | None = None
        self._over_since: float | None = None
        self._thread = threading.Thread(target=self._pump, name="build-log", daemon=True)

    def start(self) -> None:
        """Begin to read ahead."""
        self._thread.start()

    def __next__(self) -> bytes:
        if self._closed.is_set():
            raise StopIteration
        try:
            chunk = self._chunks.get(timeout=_HEARTBEAT_SECONDS)
        except queue.Empty:
            if self._lost():
                self.close()
            return b""
        if chunk is not None:
            self._over_since = None
            return chunk
        self.close()
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """End the log at once; harmless twice."""
        self._closed.set()
        self._log.close()
        self._on_close(self)
        self._drain()
        self._put(None)

    def _lost(self) -> bool:
        """Whether the build has ended for so long that nothing can come any more."""
        if not self._is_over():
            return False
        if self._over_since is None:
            self._over_since = time.monotonic()
        return time.monotonic() - self._over_since > self._grace_seconds

    # -- the thread ----------------------------------------------------------------------------

    def _pump(self) -> None:
        try:
            with closing(self._source):
                for chunk in self._source:
                    if not self._hand_over(chunk):
                        return
        except AttemptFailed as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - the reader must not wait for a dead thread
            structlog.get_logger().exception("build_log_failed")
            self._error = AttemptFailed(FailureReason.API_ERROR, repr(error))
        self._hand_over(None)

    def _hand_over(self, chunk: bytes | None) -> bool:
        """Wait until the reader has room; False once the log is closed."""
        while not self._closed.is_set():
            try:
                self._chunks.put(chunk, timeout=_HEARTBEAT_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def _drain(self) -> None:
        while not self._chunks.empty():
            try:
                self._chunks.get_nowait()
            except queue.Empty:
                return

    def _put(self, chunk: bytes | None) -> None:
        try:
            self._chunks.put_nowait(chunk)
        except queue.Full:
            return  # whoever waits for something is woken by what is there


def _no_log(detail: str) -> Refused:
    return Refused(RefusalCode.NOT_FOUND, f"no log: {detail}")
