"""JobDiagnosis: finds out why Jobs do not run, and why they failed, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

import structlog

from lambda_builder.builds import BuildError, BuildState
from lambda_builder.errors import AttemptFailed
from lambda_builder.kube.pod_diagnosis import IMAGE_PULL_FAILED, PodDiagnosis
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.threads import Background

LOOK_SECONDS = 5.0
"""How often Jobs that do not run are looked into."""
_LONGEST_PAUSE_SECONDS = 20.0
_PAUSE_SHARE = 5.0
"""The pause after a look is at least so many times as long as the look took."""
_REMEMBERED = 1000
"""Failed Jobs whose explanation is remembered, and that wait for theirs."""


def _ignore(job_name: str) -> None:
    del job_name


class JobDiagnosis:
    """Why Jobs do not run or failed; thread-safe, starts and stops as ``Background``.

    ``on_found`` is called, with no lock held, with the name of a Job about which there is news.
    While ``available`` says that the API is away, nothing is asked.
    """

    def __init__(
        self,
        watcher: JobWatcher,
        pods: PodDiagnosis,
        *,
        available: Callable[[], bool],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.on_found: Callable[[str], None] = _ignore
        self._watcher = watcher
        self._pods = pods
        self._available = available
        self._look_seconds = look_seconds
        self._lock = threading.Lock()
        self._waiting: dict[str, BuildError] = {}
        """What keeps active Jobs from running, by uid."""
        self._failed: OrderedDict[str, BuildError] = OrderedDict()
        """Why Jobs failed, by uid."""
        self._unexplained: deque[JobRecord] = deque()
        self._explaining: set[str] = set()
        """Failed Jobs, by uid, whose explanation is to come."""
        self._idle: set[str] = set()
        """Jobs, by uid, that did not run at the last look."""
        self._wake = threading.Event()
        self._thread = Background("job-diagnosis", self._loop, wake=self._wake.set)

    def start(self) -> None:
        """Begin to look; does nothing after ``stop``."""
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is alive after ``timeout`` seconds."""
        return self._thread.stop(timeout)

    # -- what is known -------------------------------------------------------------------------

    def of(self, record: JobRecord) -> BuildError | None:
        """Return the trouble of a Job as far as it was found out; asks nobody."""
        with self._lock:
            if record.state is BuildState.FAILED:
                return self._failed.get(record.uid)
            return self._waiting.get(record.uid) if _should_run(record) else None

    def explain(self, record: JobRecord) -> BuildError | None:
        """Return why a Job failed, asking its pods unless that was done before.

        What the Job itself says, where they tell nothing; None where it did not fail.
        """
        if record.state is not BuildState.FAILED or record.error is None:
            return None
        known = self.of(record)
        if known is not None or not self._available():
            return known or record.error
        try:
            details = self._pods.of_failed(record.name)
        except AttemptFailed as error:
            structlog.get_logger().warning(
                "failure_not_explained", job_name=record.name, error=str(error)
            )
            return record.error
        message = f"{record.error.message}; {details}" if details else record.error.message
        explained = BuildError(record.error.code, message)
        with self._lock:
            self._failed[record.uid] = explained
            while len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)
        return explained

    def explain_soon(self, record: JobRecord) -> None:
        """Let the thread find out why a Job failed."""
        with self._lock:
            if record.uid in self._explaining:
                return
            self._explaining.add(record.uid)
            self._unexplained.append(record)
            while len(self._unexplained) > _REMEMBERED:
                self._explaining.discard(self._unexplained.popleft().uid)
        self._wake.set()

    def is_explaining(self, record: JobRecord) -> bool:
        """Return whether the thread is about to find out why a Job failed, or tries to."""
        with self._lock:
            return record.uid in self._explaining

    def forget(self, record: JobRecord) -> None:
        """The Job runs, is held on purpose, or is gone: nothing keeps it from running."""
        with self._lock:
            self._waiting.pop(record.uid, None)

    # -- the thread ----------------------------------------------------------------------------

    def _loop(self, stopping: threading.Event) -> None:
        due = time.monotonic() + self._look_seconds
        while not stopping.is_set():
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()
            try:
                if self._available():
                    self._explain_failures(stopping)
                if time.monotonic() >= due:
                    due = self._look()
            except Exception as error:  # noqa: BLE001 - the next look may go better
                unexpected = not isinstance(error, AttemptFailed)
                structlog.get_logger().warning(
                    "pods_not_looked_into", error=str(error), exc_info=unexpected
                )
                due = time.monotonic() + self._look_seconds

    def _explain_failures(self, stopping: threading.Event) -> None:
        while self._unexplained and not stopping.is_set():
            with self._lock:
                record = self._unexplained.popleft()
            try:
                explained = self.explain(record)
            finally:
                with self._lock:
                    self._explaining.discard(record.uid)
            if explained is not None:
                self.on_found(record.name)

    def _look(self) -> float:
        """Find out why Jobs do not run; returns when to do it again.

        Only those that did not run at the last look either: the others may just be about to.
        """
        began = time.monotonic()
        created = self._watcher.records(BuildState.CREATED)
        waiting = {record.uid: record for record in created if _should_run(record)}
        suspects = self._idle & waiting.keys()
        self._idle = set(waiting)
        if suspects and self._available():
            found = self._pods.of_waiting(suspects)
            for uid in suspects:
                if self._is_news(waiting[uid], found.get(uid)):
                    self.on_found(waiting[uid].name)
        pause = max(self._look_seconds, _PAUSE_SHARE * (time.monotonic() - began))
        return time.monotonic() + min(pause, _LONGEST_PAUSE_SECONDS)

    def _is_news(self, record: JobRecord, trouble: BuildError | None) -> bool:
        with self._lock:
            known = self._waiting.get(record.uid)
            if trouble == known or _same_pull(trouble, known):
                return False
            latest = self._watcher.by_name(record.name)
            if trouble is None:
                del self._waiting[record.uid]
            elif latest is not None and latest.uid == record.uid and _should_run(latest):
                self._waiting[record.uid] = trouble
            else:
                return False
        return True


def _should_run(record: JobRecord) -> bool:
    """Whether the Job has not begun to run, and nobody holds it back on purpose."""
    return record.state is BuildState.CREATED and not record.suspended


def _same_pull(now: BuildError | None, known: BuildError | None) -> bool:
    # While a pull fails the pod says in turn that it failed and that it will be tried again.
    codes = [error.code for error in (now, known) if error is not None]
    return codes == [IMAGE_PULL_FAILED, IMAGE_PULL_FAILED]
