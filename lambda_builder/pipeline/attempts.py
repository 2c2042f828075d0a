"""Attempts: what a worker does with a build, and what follows from how it went.

An attempt never sleeps: a build that has to wait goes back to the queue with a due time. The
attempt is recorded before the work, so that a build which kills the process runs out of attempts.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from lambda_builder.builds import BuildError
from lambda_builder.errors import (
    AttemptFailed,
    FailureReason,
    NotSent,
    Permanent,
    Refused,
    Transient,
    Unreachable,
)
from lambda_builder.journal import Claim, Journal
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.jobs import CreatedJob
from lambda_builder.manifest.template import Manifest
from lambda_builder.pipeline.awaited import Awaited
from lambda_builder.pipeline.capacity import Capacity
from lambda_builder.pipeline.hold import Hold
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.pool import WorkerDied
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.runner import BuildRunner, TargetBusy, image_of
from lambda_builder.pipeline.stats import Counts
from lambda_builder.precedence import Precedence
from lambda_builder.telemetry import tracing
from lambda_builder.telemetry.metrics import Metrics, exemplar_of
from lambda_builder.threads import Backoff

_JOURNAL_RETRY_SECONDS = 1.0
_NOT_SENT_SECONDS = 1.0
_NO_ROOM_SECONDS = 0.25
"""How soon it is asked again whether one more Job may be made."""
_AMBIGUOUS = frozenset(
    {FailureReason.TIMEOUT, FailureReason.CONNECTION, FailureReason.SERVER_ERROR}
)
"""Failures after which the Job may exist all the same."""
_NO_ROOM = frozenset({FailureReason.RATE_LIMITED, FailureReason.QUOTA_EXCEEDED})
"""The API is well and says that it is too much at this moment: no fault of the build."""
_QUOTA_NAME = re.compile(r"exceeded quota: ([^\s,]+)")
_Before = tuple[int, bool]
"""A build's attempts, and whether it was tried, before the present attempt."""


class Attempts:
    """Runs and judges attempts; thread-safe."""

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        ledger: Ledger,
        live: LiveBuilds,
        journal: Journal,
        runner: BuildRunner,
        health: ApiHealth,
        capacity: Capacity,
        metrics: Metrics,
        counts: Counts,
        *,
        max_attempts: int,
        retry_base_seconds: float,
        retry_max_seconds: float,
        on_created: Callable[[CreatedJob], None],
        hold: Hold | None = None,
        awaited: Awaited | None = None,
        precedence: Precedence | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """``on_created`` is told of each Job once its build is known to have it; must be quick.

        ``hold`` keeps the workers from asking while there is no room for one more Job; ``awaited``
        tells those who wait for a build that moved away.
        """
        self._queue = build_queue
        self._ledger = ledger
        self._live = live
        self._journal = journal
        self._runner = runner
        self._health = health
        self._capacity = capacity
        self._metrics = metrics
        self._counts = counts
        self._max_attempts = max_attempts
        self._on_created = on_created
        self._hold = hold or Hold()
        self._awaited = awaited or Awaited()
        self._precedence = precedence or Precedence()
        self._backoff = Backoff(retry_base_seconds, retry_max_seconds, jitter=1.0, rng=rng)

    def run(self, entry: Entry[Build]) -> bool:
        """Make one attempt at a held entry, then finish it or give it back.

        Returns whether the API did what was asked.
        """
        with self._precedence.turn():
            return self._run(entry)

    def _run(self, entry: Entry[Build]) -> bool:
        build = entry.item
        started, before = time.monotonic(), (build.attempts, build.tried)
        try:
            if build.cancelled:
                self._take_back(entry)
            elif build.attempts >= self._max_attempts:
                self._used_up(entry)
            else:
                return self._attempt(entry)
            return True
        except Unreachable as error:
            self._unreachable(entry, error, before)
        except Transient as error:
            if error.reason in _NO_ROOM:
                self._no_room(entry, error, before)
            else:
                self._again_or_dead(entry, error)
        except Permanent as error:
            self._metrics.worker_errors.labels(error.reason.value).inc()
            self._refused(entry, error)
        except Refused as error:  # the journal could not take the attempt: nothing was tried
            self._give_back(entry, _JOURNAL_RETRY_SECONDS)
            structlog.get_logger().warning("attempt_put_off", error=error.detail)
        finally:
            self._metrics.processing_duration.observe(
                time.monotonic() - started, exemplar_of(build.request.traceparent)
            )
        return False

    def panicked(self, entry: Entry[Build], error: BaseException) -> None:
        """Judge an entry whose attempt raised what nobody expected, or whose worker died."""
        build = entry.item
        self._counts.add("panics")
        self._metrics.worker_errors.labels(FailureReason.PANIC.value).inc()
        structlog.get_logger().error(
            "worker_panic",
            exc_info=error,
            attempts=build.attempts,
            **build.request.log_fields(),
        )
        message = f"unexpected {type(error).__name__}: {error}"
        if isinstance(error, WorkerDied) and build.attempts < self._max_attempts:
            # Nothing says that the build was to blame, so it has its other attempts.
            self._retry(
                entry, FailureReason.PANIC, message, self._backoff.pause(build.attempts - 1)
            )
        else:
            self._dead(entry, BuildError(FailureReason.PANIC.value, message))

    # -- one attempt ---------------------------------------------------------------------------

    def _attempt(self, entry: Entry[Build]) -> bool:
        build, request = entry.item, entry.item.request
        with self._precedence.apart():  # a shared journal asks its database
            claim = self._journal.attempt(request.event_hash, build.attempts + 1)
        if claim is not Claim.GRANTED:
            self._not_granted(entry, claim)
            return False
        if not build.tried:
            self._metrics.queue_wait.observe(
                max(0.0, time.time() - request.accepted_at), exemplar_of(request.traceparent)
            )
        build.attempts += 1
        build.tried = True
        manifest = self._runner.render(request)
        self._ledger.creating(build, image_of(manifest))
        with tracing.span(
            "create_job",
            request.traceparent,
            {"job.name": request.job_name, "attempt": build.attempts},
        ):
            try:
                job = self._create(build, manifest)
            except TargetBusy as busy:
                self._health.report_success()
                self._ledger.skipped(build, busy.job_name)
                self._queue.finish(entry, "skipped")
                return True
        self._health.report_success()
        self._capacity.admitted()
        if self._ledger.created(build, job):
            self._created(entry, job)
        else:
            self._take_back(entry)
        return True

    def _not_granted(self, entry: Entry[Build], claim: Claim) -> None:
        if claim is Claim.MOVED:
            if entry.item.cancelled:  # as was promised
                self._take_back(entry)
            else:
                self._let_go(entry)
            return
        self._hold.for_seconds(_NO_ROOM_SECONDS)
        self._give_back(entry, 0.0)

    def _create(self, build: Build, manifest: Manifest) -> CreatedJob:
        """Create the Job, and know afterwards whether there may be one."""
        before, build.uncertain = build.uncertain, True
        try:
            return self._runner.create(build.request, manifest)
        except AttemptFailed as error:
            if isinstance(error, NotSent) or error.reason not in _AMBIGUOUS:
                build.uncertain = before
            raise

    def _let_go(self, entry: Entry[Build]) -> None:
        """The build goes on, or has ended, elsewhere."""
        self._ledger.moved(entry.item)
        self._awaited.add(entry.item)
        self._queue.leave(entry)

    def _take_back(self, entry: Entry[Build]) -> None:
        """Leave no Job of a build that was cancelled while it waited or was being created."""
        with self._precedence.apart():  # a shared journal asks its database
            holds = self._ledger.holds(entry.item)
        if not holds:
            self._let_go(entry)
            return
        if entry.item.uncertain:
            self._runner.remove(entry.item.request)
            self._health.report_success()
        self._ledger.cancelled(entry.item)
        self._queue.finish(entry, "cancelled")

    def _used_up(self, entry: Entry[Build]) -> None:
        """The process died in every attempt: see whether one of them made the Job."""
        if not self._found(entry):
            message = f"the process died in each of {entry.item.attempts} attempts"
            self._dead(entry, BuildError(FailureReason.PANIC.value, message))

    def _found(self, entry: Entry[Build]) -> bool:
        job = self._runner.look(entry.item.request)
        if job is None or not self._ledger.created(entry.item, job):
            return False
        self._created(entry, job)
        return True

    def _created(self, entry: Entry[Build], job: CreatedJob) -> None:
        request = entry.item.request
        waited = max(0.0, time.time() - request.accepted_at)
        self._metrics.creation_delay.observe(waited, exemplar_of(request.traceparent))
        self._queue.finish(entry, "created")
        try:
            self._on_created(job)
        except Exception:  # noqa: BLE001 - the build has ended well, whatever comes of the news
            structlog.get_logger().exception("created_not_told", job_name=job.name)

    # -- how it went ---------------------------------------------------------------------------

    def _unreachable(self, entry: Entry[Build], error: Unreachable, before: _Before) -> None:
        if isinstance(error, NotSent):  # there is no time left for any call
            self._undo(entry.item, (before[0], True))
            self._retry(entry, error.reason, str(error), _NOT_SENT_SECONDS)
            return
        with self._precedence.apart():  # this one, or another, probes the API
            is_there = self._health.report_unreachable()
        if is_there:
            self._again_or_dead(entry, error)
        else:
            # The API is away: that costs the build none of its attempts. It needs no delay, for no
            # worker takes it before the API is back.
            self._undo(entry.item, (before[0], True))
            self._retry(entry, error.reason, str(error), 0.0)

    def _no_room(self, entry: Entry[Build], error: Transient, before: _Before) -> None:
        self._metrics.worker_errors.labels(error.reason.value).inc()
        if error.reason is FailureReason.RATE_LIMITED:
            self._undo(entry.item, (before[0], True))
            self._health.report_throttled(error.retry_after)
            delay = self._backoff.pause(before[0]) + (error.retry_after or 0.0)
            self._retry(entry, error.reason, str(error), delay)
            return
        self._undo(entry.item, before)
        name = _QUOTA_NAME.search(str(error))
        self._capacity.refused(name[1] if name else "")
        self._retry(entry, error.reason, str(error), 0.0)

    def _undo(self, build: Build, before: _Before) -> None:
        """Let the attempt be none."""
        build.attempts, build.tried = before

    def _refused(self, entry: Entry[Build], error: Permanent) -> None:
        build = entry.item
        if build.cancelled:
            # Its Job may be there and may not be deleted: then the build simply has it.
            structlog.get_logger().error("cancel_refused", error=str(error))
            self._live.keep(build)
            with suppress(Transient, Permanent):
                if self._found(entry):
                    return
        self._dead(entry, BuildError(error.reason.value, str(error)))

    def _again_or_dead(self, entry: Entry[Build], error: Transient) -> None:
        build = entry.item
        self._metrics.worker_errors.labels(error.reason.value).inc()
        if build.cancelled or build.attempts < self._max_attempts:
            delay = self._backoff.pause(build.attempts - 1) + (error.retry_after or 0.0)
            self._retry(entry, error.reason, str(error), delay)
            return
        if error.reason in _AMBIGUOUS:
            try:
                if self._found(entry):
                    return
            except (Transient, Permanent) as unseen:
                structlog.get_logger().warning("last_look_failed", error=str(unseen))
        message = f"gave up after {build.attempts} attempts: {error}"
        self._dead(entry, BuildError(error.reason.value, message))

    def _retry(
        self, entry: Entry[Build], reason: FailureReason, message: str, delay: float
    ) -> None:
        self._counts.add("retried", reason.value)
        build = entry.item
        self._journal.take_back_attempt(
            build.request.event_hash, build.attempts, has_job=build.uncertain
        )
        self._ledger.retrying(entry.item, BuildError(reason.value, message), delay)
        self._give_back(entry, delay)

    def _give_back(self, entry: Entry[Build], delay: float) -> None:
        if entry.item.cancelled and not entry.item.uncertain:
            try:
                self._take_back(entry)
            except Refused:  # the journal cannot be asked whose it is
                self._queue.give_back(entry, max(delay, _JOURNAL_RETRY_SECONDS))
        else:
            self._queue.give_back(entry, delay)

    def _dead(self, entry: Entry[Build], error: BuildError) -> None:
        self._ledger.dead(entry.item, error)
        self._queue.finish(entry, "dead")
