"""JobDiagnosis: finds out what Jobs do not say themselves, in a thread of its own.

Why they do not run, why they failed, and the digest of what they pushed. The last two are noted on
the Job, so that every replica knows them as long as it exists.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from lambda_builder.builds import BuildError, BuildState, FailureCategory
from lambda_builder.errors import AttemptFailed
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.labels import BUILDING, FAILURE_CATEGORY, IMAGE_DIGEST
from lambda_builder.kube.pod_diagnosis import IMAGE_PULL_FAILED, PodDiagnosis
from lambda_builder.kube.record import FINISHED, JobRecord
from lambda_builder.kube.status import DEADLINE_EXCEEDED
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.precedence import Precedence
from lambda_builder.threads import Background

LOOK_SECONDS = 5.0
"""How often Jobs that do not run are looked into."""
_LONGEST_PAUSE_SECONDS = 20.0
_PAUSE_SHARE = 5.0
"""The pause after a look is at least so many times as long as the look took."""
_AT_ONCE = 50
"""Jobs whose digests one list of pods tells: their names make up to 3 KB of its URL."""
_GATHER_SECONDS = 0.1
"""From one list to the next: Jobs that ended meanwhile are asked about together."""
_REMEMBERED = 1000
"""Ended Jobs of which is remembered what was found out, and that wait for it."""
_NOTE_SECONDS = 2.0
"""How long a note waits for the mark of the Job's end, which takes it along."""
_LAST_SECONDS = 1.0
"""How long notes that wait are written for at the end."""


def _ignore(record: JobRecord) -> None:
    del record


class JobDiagnosis:
    """What Jobs do not say themselves; thread-safe, starts and stops as ``Background``.

    ``on_found`` is called, with no lock held, with a Job about which there is news, as it is known
    by then; a failed one has a category, be it that nothing could be found out. While ``available``
    says that the API is away, nothing is asked.
    """

    def __init__(
        self,
        watcher: JobWatcher,
        pods: PodDiagnosis,
        jobs: JobManager,
        *,
        available: Callable[[], bool],
        look_seconds: float = LOOK_SECONDS,
        precedence: Precedence | None = None,
    ) -> None:
        """To tell of a Job is a turn of ``precedence``."""
        self.on_found: Callable[[JobRecord], None] = _ignore
        self.marks_follow: Callable[[], bool] = lambda: False
        """Whether this replica soon marks ended Jobs, with ``notes_of``."""
        self.mark_waits: Callable[[str], bool] = lambda _uid: False
        """Whether the mark of an ended Job, by uid, waits to be written."""
        self._watcher = watcher
        self._pods = pods
        self._jobs = jobs
        self._available = available
        self._look_seconds = look_seconds
        self._precedence = precedence or Precedence()
        self._lock = threading.Lock()
        self._waiting: dict[str, BuildError] = {}
        """What keeps active Jobs from running, by uid."""
        self._unconfirmed: set[str] = set()
        """Of these, by uid, nothing was found any more, at one look so far."""
        self._ended: OrderedDict[str, JobRecord] = OrderedDict()
        """Ended Jobs, by uid, with what was found out about them."""
        self._unexplained: deque[JobRecord] = deque()
        self._others: OrderedDict[str, JobRecord] = OrderedDict()
        """Those, by uid, that another replica may be about to explain."""
        self._explaining: set[str] = set()
        """Ended Jobs, by uid, whose explanation is to come."""
        self._unnoted: deque[tuple[float, JobRecord]] = deque()
        """Ended Jobs whose notes wait, and until when; for the thread."""
        self._idle: set[str] = set()
        """Jobs, by uid, that did not run at the last look."""
        self._told: set[str] = set()
        """Of those that are not explained yet, by uid, which were told of with many others."""
        self._list_at = 0.0
        self._wake = threading.Event()
        self._thread = Background("job-diagnosis", self._loop, wake=self._wake.set)

    def start(self) -> None:
        """Begin to look; does nothing after ``stop``."""
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is alive after ``timeout`` seconds."""
        return self._thread.stop(timeout)

    # -- what is known -------------------------------------------------------------------------

    def known(self, record: JobRecord) -> JobRecord:
        """Return a Job with what was found out about it so far; asks nobody."""
        with self._lock:
            if record.state in FINISHED:
                found = self._ended.get(record.uid)
                if found is None:
                    return record
                return replace(record, error=found.error, image_digest=found.image_digest)
            trouble = self._waiting.get(record.uid) if _should_run(record) else None
        return record if trouble is None else replace(record, error=trouble)

    def reasons(self) -> dict[str, BuildError]:
        """Return, by uid, why Jobs do not run or failed, as far as was found out; asks nobody."""
        with self._lock:
            ended = {uid: record.error for uid, record in self._ended.items() if record.error}
            return {**self._waiting, **ended}

    def is_explained(self, record: JobRecord) -> bool:
        """Return whether nothing more is to be found out about an ended Job."""
        if record.state is BuildState.SUCCEEDED and record.image_digest is not None:
            return True
        with self._lock:
            return record.state not in FINISHED or record.uid in self._ended

    def explain(self, record: JobRecord) -> JobRecord:
        """Return an ended Job with what its pods tell, asking them unless that was done before.

        What the Job itself says, where they tell nothing.
        """
        if self.is_explained(record) or not self._available():
            return self.known(record)
        try:
            explained = self._explained(record)
        except AttemptFailed as error:
            structlog.get_logger().warning(
                "job_not_explained", job_name=record.name, error=str(error)
            )
            return record
        self._remember(explained)
        return explained

    def _remember(self, explained: JobRecord) -> None:
        with self._lock:
            self._waiting.pop(explained.uid, None)
            self._unconfirmed.discard(explained.uid)
            self._ended[explained.uid] = explained
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)

    def _explained(self, record: JobRecord) -> JobRecord:
        if record.error is None:
            return replace(record, image_digest=self._pods.digest_of(record.name))
        failure = self._pods.of_failed(record.name)
        message, category = record.error.message, FailureCategory.UNKNOWN
        if failure is not None:
            message, category = f"{message}; {failure.text}", failure.category
        if record.error.code == DEADLINE_EXCEEDED:
            category = FailureCategory.TIMEOUT
            with self._lock:
                kept_from_running = self._waiting.get(record.uid)
            if kept_from_running is not None:
                message = f"{message}; it did not run: {kept_from_running.message}"
                category = kept_from_running.category or category
        category = record.error.category or category
        return replace(record, error=BuildError(record.error.code, message, category))

    def explain_soon(self, record: JobRecord, *, at_once: bool = True) -> None:
        """Let the thread find out about an ended Job, or see first whether another replica does."""
        dropped = None
        with self._lock:
            put_off = record.uid in self._others
            if record.uid in self._explaining and not (put_off and at_once):
                return
            self._explaining.add(record.uid)
            self._others.pop(record.uid, None)
            if at_once:
                self._unexplained.append(record)
            else:
                self._others[record.uid] = record
            if len(self._explaining) > _REMEMBERED:
                dropped = self._drop_oldest()
        self._wake.set()
        if dropped is not None:
            self.on_found(_with_category(dropped))

    def is_explaining(self, uid: str) -> bool:
        """Return whether the thread is about to find out about an ended Job, and has not yet."""
        with self._lock:
            return uid in self._explaining and uid not in self._ended

    def explained(self, uids: Mapping[str, object]) -> set[str]:
        """Return those of ``uids``, keys of a mapping, about which all was found out."""
        with self._lock:
            return self._ended.keys() & uids.keys()

    def notes_of(self, job: JobRecord) -> Mapping[str, str]:
        """Return the annotations that an ended Job lacks, as it was seen last; asks nobody."""
        with self._lock:
            found = self._ended.get(job.uid)
        return {} if found is None else _missing_notes(job, found)

    def forget(self, record: JobRecord) -> None:
        """The Job runs, is held on purpose, or is gone: nothing keeps it from running."""
        with self._lock:
            self._waiting.pop(record.uid, None)
            self._unconfirmed.discard(record.uid)

    # -- the thread ----------------------------------------------------------------------------

    def _loop(self, stopping: threading.Event) -> None:
        due = time.monotonic() + self._look_seconds
        while not stopping.is_set():
            at = due
            if self._unnoted and self._available():
                at = min(due, self._unnoted[0][0])
            self._wake.wait(max(0.0, at - time.monotonic()))
            self._wake.clear()
            try:
                if self._available():
                    self._write_notes()
                    self._explain_ended(stopping, due)
                if time.monotonic() >= due:
                    self._take_up_others()
                    due = self._look()
            except Exception as error:  # noqa: BLE001 - the next look may go better
                unexpected = not isinstance(error, AttemptFailed)
                structlog.get_logger().warning(
                    "pods_not_looked_into", error=str(error), exc_info=unexpected
                )
                due = time.monotonic() + self._look_seconds
        ends_at = time.monotonic() + _LAST_SECONDS
        while self._unnoted and self._available() and time.monotonic() < ends_at:
            self._note(self._unnoted.popleft()[1])

    def _explain_ended(self, stopping: threading.Event, until: float) -> None:
        """Find out about ended Jobs, until it is time for a look at those that do not run."""
        while self._unexplained and self._available() and not stopping.is_set():
            if time.monotonic() >= until:
                self._wake.set()
                return
            self._learn_digests(stopping)
            with self._lock:
                record = self._unexplained.popleft()
            try:
                explained = self.explain(record)
            finally:
                with self._lock:
                    self._explaining.discard(record.uid)
            if self.marks_follow():
                self._unnoted.append((time.monotonic() + _NOTE_SECONDS, explained))
            else:
                self._note(explained)
            if record.uid in self._told:
                self._told.discard(record.uid)
            else:
                self._tell(_with_category(explained))
            self._write_notes()

    def _learn_digests(self, stopping: threading.Event) -> None:
        """Ask for the digests of many Jobs at once, and not too often: news of others waits."""
        records, is_first = self._without_digest()
        if not records:
            return
        early = self._list_at - time.monotonic()
        if early > 0:
            if not is_first:
                return  # what comes first need not wait
            stopping.wait(early)
            records, _ = self._without_digest()
        self._list_at = time.monotonic() + _GATHER_SECONDS
        if len(records) < 2:
            return
        try:
            digests = self._pods.digests_of([record.name for record in records])
        except AttemptFailed:
            return  # each is asked for by itself, and told of
        for record in records:
            explained = replace(record, image_digest=digests.get(record.name))
            self._remember(explained)
            self._tell(explained)
            with self._lock:
                if record.uid in self._explaining:
                    self._told.add(record.uid)

    def _without_digest(self) -> tuple[list[JobRecord], bool]:
        """Return Jobs whose digests are not known, and whether the next one is among them."""
        with self._lock:
            pushed = (
                record
                for record in self._unexplained
                if record.state is BuildState.SUCCEEDED and record.uid not in self._ended
            )
            records = list(itertools.islice(pushed, _AT_ONCE))
            return records, bool(records) and records[0] is self._unexplained[0]

    def _write_notes(self) -> None:
        """Write the notes that no mark has taken along in time."""
        while self._unnoted and self._unnoted[0][0] <= (now := time.monotonic()):
            _, record = self._unnoted.popleft()
            # As long as it is remembered what the mark is to take along.
            if self.mark_waits(record.uid) and len(self._unnoted) < _REMEMBERED // 2:
                self._unnoted.append((now + _NOTE_SECONDS, record))
            else:
                self._note(record)

    def _note(self, record: JobRecord) -> None:
        """Note on the Job what was found out, unless it says so by now."""
        job = self._watcher.by_name(record.name)
        if job is None or job.uid != record.uid:
            return
        notes = _missing_notes(job, record)
        if notes:
            self._patch(record, notes)

    def _patch(self, record: JobRecord, notes: Mapping[str, str]) -> None:
        try:
            self._jobs.patch_annotations(record.name, notes, record.uid)
        except AttemptFailed as error:
            structlog.get_logger().warning("job_not_marked", job_name=record.name, error=str(error))

    def _note_building(self, record: JobRecord) -> None:
        """Note on a Job that it runs, for every replica to see, unless it is known by now."""
        job = self._watcher.by_name(record.name)
        if job is not None and job.uid == record.uid and job.state is BuildState.CREATED:
            self._patch(record, {BUILDING: "true"})

    def _take_up_others(self) -> None:
        """Explain what no other replica has by now."""
        with self._lock:
            others = [*self._others.values()]
            self._others.clear()
        for record in others:
            job = self._watcher.by_name(record.name)
            if job is not None and job.error is not None and job.error.category is None:
                with self._lock:
                    self._unexplained.append(record)
                self._wake.set()
                continue
            with self._lock:
                self._explaining.discard(record.uid)
            self._tell(_with_category(job or record))

    def _tell(self, record: JobRecord) -> None:
        with self._precedence.turn():
            self.on_found(record)

    # -- with the lock held --------------------------------------------------------------------

    def _drop_oldest(self) -> JobRecord:
        if self._others:
            _, dropped = self._others.popitem(last=False)
        else:
            dropped = self._unexplained.popleft()
            self._told.discard(dropped.uid)
        self._explaining.discard(dropped.uid)
        return dropped

    # -- Jobs that do not run ------------------------------------------------------------------

    def _look(self) -> float:
        """Find out why Jobs do not run; returns when to do it again.

        Only those that did not run at the last look either: the others may just be about to.
        """
        began = time.monotonic()
        created = self._watcher.records(BuildState.CREATED)
        waiting = {record.uid: record for record in created if _should_run(record)}
        suspects = self._idle & waiting.keys()
        self._idle = set(waiting)
        found: Mapping[str, BuildError] = {}
        if suspects and self._available():
            found, building = self._pods.of_waiting(suspects)
            for uid in building:
                self._note_building(waiting[uid])
        else:
            suspects = set()
        took = time.monotonic() - began  # of the API: what follows waits for its turns
        for uid in suspects:
            if self._is_news(waiting[uid], found.get(uid)):
                self._tell(waiting[uid])
        pause = max(self._look_seconds, _PAUSE_SHARE * took)
        return time.monotonic() + min(pause, _LONGEST_PAUSE_SECONDS)

    def _is_news(self, record: JobRecord, trouble: BuildError | None) -> bool:
        with self._lock:
            known = self._waiting.get(record.uid)
            if trouble is not None:
                self._unconfirmed.discard(record.uid)
            if trouble == known or _same_pull(trouble, known):
                return False
            latest = self._watcher.by_name(record.name)
            if trouble is None:
                if record.uid not in self._unconfirmed:
                    # Its pods may be gone because its deadline has passed: the Job says so soon.
                    self._unconfirmed.add(record.uid)
                    return False
                self._unconfirmed.discard(record.uid)
                del self._waiting[record.uid]
            elif latest is not None and latest.uid == record.uid and _should_run(latest):
                self._waiting[record.uid] = trouble
            else:
                return False
        return True


def _with_category(record: JobRecord) -> JobRecord:
    if record.state is not BuildState.FAILED or record.error is None or record.error.category:
        return record
    return replace(record, error=replace(record.error, category=FailureCategory.UNKNOWN))


def _missing_notes(job: JobRecord, found: JobRecord) -> dict[str, str]:
    notes = {}
    if found.error and found.error.category and not (job.error and job.error.category):
        notes[FAILURE_CATEGORY] = found.error.category.value
    if found.image_digest and not job.image_digest:
        notes[IMAGE_DIGEST] = found.image_digest
    return notes


def _should_run(record: JobRecord) -> bool:
    """Whether the Job has not begun to run, and nobody holds it back on purpose."""
    return record.state is BuildState.CREATED and not record.suspended


def _same_pull(now: BuildError | None, known: BuildError | None) -> bool:
    # While a pull fails the pod says in turn that it failed and that it will be tried again.
    codes = [error.code for error in (now, known) if error is not None]
    return codes == [IMAGE_PULL_FAILED, IMAGE_PULL_FAILED]
