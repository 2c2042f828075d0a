"""BuildLifecycle: what follows for builds, here, from the changes of their Jobs.

Knows Jobs as records only. States go to the records of builds, ends to the metrics.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from cachetools import TTLCache

from lambda_builder.builds import (
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
    digest_bytes,
)
from lambda_builder.kube.record import JobRecord, with_job
from lambda_builder.kube.status import DEADLINE_EXCEEDED
from lambda_builder.kube.watcher import JobChange, JobWatcher
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.telemetry.metrics import Metrics, exemplar_of

_FRESH_SECONDS = 5.0
"""How far the watch may be behind the request that made a Job."""
_KEEPS_TROUBLE = (BuildState.CREATED, BuildState.FAILED)
"""States of a Job in which it counts what kept it from running."""
_UNSEEN_MAX = 10_000
_GONE_MAX = 20_000
"""Most Jobs that are remembered after they are gone; some 10 MB."""


class BuildLifecycle:
    """Keeps builds as their Jobs are; thread-safe."""

    def __init__(
        self,
        watcher: JobWatcher,
        ledger: Ledger,
        metrics: Metrics,
        diagnosis: JobDiagnosis,
        changes: ChangeFeed,
        *,
        gone_seconds: float,
    ) -> None:
        """``gone_seconds`` is how long a Job's event is known after the Job is gone."""
        self._watcher = watcher
        self._ledger = ledger
        self._metrics = metrics
        self._diagnosis = diagnosis
        self._changes = changes
        self._lock = threading.Lock()
        self._failed = self._succeeded = 0
        self._uncounted: set[str] = set()
        """Failed Jobs, by uid, whose category is not known yet."""
        self._listing: list[BuildResult] = []
        """Builds whose Jobs were known to be there when the last list began."""
        self._gone: TTLCache[bytes, tuple[str, str]] = TTLCache(_GONE_MAX, gone_seconds)
        """Names and last states, by event, of Jobs of any replica that are gone."""
        self._unseen: TTLCache[str, bool] = TTLCache(_UNSEEN_MAX, _FRESH_SECONDS)
        """Names of Jobs made here that the watch has not shown yet."""
        diagnosis.on_found = self._found

    @property
    def failed_total(self) -> int:
        """Jobs that failed, or ran out of time, since the start."""
        return self._failed

    @property
    def succeeded_total(self) -> int:
        """Jobs that succeeded since the start."""
        return self._succeeded

    def job_changed(self, change: JobChange) -> None:
        """Listen to the watcher."""
        record, previous = change.record, change.previous
        is_gone = change.kind == "gone"
        if is_gone and record.event_hash:
            with self._lock:
                self._gone[record.event_hash] = record.name, record.state.value
        if change.ended:
            self._count(change)
        self._count_failure(record, gone=is_gone)
        if previous is not None and not is_gone and _looks_alike(previous, record):
            return
        if record.state not in _KEEPS_TROUBLE or record.suspended or is_gone:
            self._diagnosis.forget(record)
        if previous is not None and (change.ended or is_gone):
            # Nothing else would tell how a build from before a restart, or of a replica that is
            # gone, ended. Not under the lock: the journal may be slow.
            self._ledger.learn(record)
        with self._lock:
            self._unseen.pop(record.name, None)
            result = self._ledger.job_changed(self._diagnosis.known(record))
        if result is None and self._watcher.synced:
            self._tell_of_others(record, previous)
        if change.ended and not is_gone:
            self._explain(record, ours=result is not None)

    def _tell_of_others(self, record: JobRecord, previous: JobRecord | None) -> None:
        """Tell of a build that another replica made; of its own the results do that."""
        is_news = previous is None or previous.state is not record.state
        if is_news and not self._ledger.knows(record):
            self._changes.note(record.result())

    def _explain(self, record: JobRecord, *, ours: bool) -> None:
        """Have it found out what an ended Job does not say: of others' only why it failed."""
        if record.state is BuildState.FAILED and (ours or record.uid in self._uncounted):
            self._diagnosis.explain_soon(record, at_once=ours)
        elif (
            # At a start there may be thousands that have no digest to tell.
            ours
            and record.state is BuildState.SUCCEEDED
            and self._watcher.synced
            and not self._diagnosis.is_explained(record)
        ):
            self._diagnosis.explain_soon(record)

    def list_begins(self) -> None:
        """Note which Jobs the list that begins now must show if they are still there."""
        self._listing = self._ledger.with_job()

    def list_ends(self) -> None:
        """End the builds whose Jobs the list did not show: they were deleted while nobody saw."""
        for result in self._listing:
            request = result.request
            if self._watcher.by_event(request.event_hash) is not None:
                continue
            with self._lock:
                self._unseen.pop(request.job_name, None)
                missing = self._ledger.job_missing(result)
            if missing:
                self._metrics.build_jobs_finished.labels(BuildState.CANCELLED.value).inc()
        self._listing = []

    def active_job(self, request: BuildRequest) -> str | None:
        """Return the name of an active Job of the request's target which is another event's.

        By what the watch knows, and by what was made here a moment ago and it has not shown yet.
        """
        target = request.third_party_id, request.parser_id
        active = self._watcher.active_job(*target, request.event_hash)
        with self._lock:
            return active or (request.job_name if request.job_name in self._unseen else None)

    def of_event(self, request: BuildRequest) -> BuildResult | None:
        """Return the build of an event that a Job was made for, here or by another replica.

        Also while the Job is gone for no more than ``gone_seconds``; it then has its last state.
        """
        record = self._watcher.by_event(request.event_hash)
        if record is not None:
            result = BuildResult(request=replace(request, job_name=record.name), state=record.state)
            return with_job(result, record, None)
        with self._lock:
            gone = self._gone.get(digest_bytes(request.event_hash))
        if gone is None:
            return None
        name, state = gone
        return BuildResult(request=replace(request, job_name=name), state=BuildState(state))

    def refresh(self, job_name: str) -> None:
        """Bring a build up to what is known of its Job.

        To be called once a build of this replica has its Job: the watch may have shown more of it
        before anybody could know whose it is.
        """
        # The lock, and the newest record: an older one must not be written over it.
        with self._lock:
            record = self._watcher.by_name(job_name)
            if record is None:
                self._unseen[job_name] = True
            else:
                self._ledger.job_changed(self._diagnosis.known(record))

    def _found(self, record: JobRecord) -> None:
        """Take what was found out about a Job."""
        self._count_failure(record)
        self.refresh(record.name)

    def current(self, result: BuildResult) -> BuildResult | None:
        """Return a build that has a Job as it is now; None when that Job is gone for good.

        For results that nobody keeps current: from the journal, or read from the API. The first
        to ask about an ended Job waits for its pods' answer. Raises nothing.
        """
        if result.state.waits or result.state in (BuildState.DEAD, BuildState.CANCELLED):
            return result
        record = self._watcher.by_event(result.request.event_hash)
        if record is not None and record.name == result.request.job_name:
            return with_job(result, self._diagnosis.explain(record), None)
        if result.state.final or not self._watcher.following or result.created_at is None:
            return result
        # It may have gone a moment ago, and its end not be written yet.
        gone = self.of_event(result.request)
        return result.but(state=gone.state) if gone is not None and gone.state.final else None

    def _count(self, change: JobChange) -> None:
        record = change.record
        if change.previous is None and not self._watcher.synced:
            return  # it ended before the service was there
        outcome = _outcome(record)
        if record.state is BuildState.FAILED:
            self._failed += 1
            with self._lock:
                self._uncounted.add(record.uid)
        elif record.state is BuildState.SUCCEEDED:
            self._succeeded += 1
        self._metrics.build_jobs_finished.labels(outcome).inc()
        if record.started_at is not None and record.finished_at is not None:
            seconds = max(0.0, record.finished_at - record.started_at)
            exemplar = exemplar_of(record.traceparent)
            self._metrics.build_job_duration.labels(outcome).observe(seconds, exemplar)

    def _count_failure(self, record: JobRecord, *, gone: bool = False) -> None:
        """Count a failure, once, by its category: as soon as that is known, or its Job is gone."""
        if record.uid not in self._uncounted:
            return
        error = self._diagnosis.known(record).error
        category = error and error.category
        if not category and not gone:
            return
        with self._lock:
            if record.uid not in self._uncounted:
                return
            self._uncounted.discard(record.uid)
        self._metrics.build_failures.labels(category or FailureCategory.UNKNOWN).inc()


def _looks_alike(previous: JobRecord, record: JobRecord) -> bool:
    """Whether nothing has changed but what the service itself noted on the Job."""
    if previous.announced == record.announced:
        return previous == record
    return replace(previous, announced=record.announced) == record


def _outcome(record: JobRecord) -> str:
    if record.error is not None and record.error.code == DEADLINE_EXCEEDED:
        return "timeout"
    return record.state.value
