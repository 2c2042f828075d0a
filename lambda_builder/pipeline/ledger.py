"""Ledger: one place that tells everybody what became of a build.

A change of state goes to the result store, the journal, the log, the outgoing events and, at the
end, to whoever waits on the build's Future. Knows no queue and no threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from lambda_builder.builds import (
    SKIPPED,
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    digest_bytes,
)
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import Journal, OpenBuild
from lambda_builder.kube.jobs import CreatedJob
from lambda_builder.kube.record import JobRecord, with_job
from lambda_builder.pipeline.announcements import Announcements, log_change, log_state
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.results import ResultStore

_WITH_JOB = (BuildState.CREATED, BuildState.RUNNING)


class Ledger:
    """Builds' changes of state; thread-safe."""

    def __init__(
        self,
        results: ResultStore,
        live: LiveBuilds,
        journal: Journal,
        announcements: Announcements,
        *,
        namespace: str,
    ) -> None:
        self._results = results
        self._live = live
        self._journal = journal
        self._announcements = announcements
        self._namespace = namespace

    def adopt(self, request: BuildRequest, attempts: int) -> Build | None:
        """Return the live build of a journal's row, made if it is not known yet.

        None where the build has ended since the row was read. Its acceptance is told again, since
        nobody knows whether it was before the restart.
        """
        result = BuildResult(request=request, state=BuildState.QUEUED, attempts=attempts)
        fresh = Build(request, attempts=attempts, tried=attempts > 0, uncertain=attempts > 0)
        build = self._live.add_unless(
            fresh, lambda: self._results.by_event(request.event_hash) is not None
        )
        # It may have been cancelled, and have ended, since it can be found.
        if build is fresh and self._results.add(result):
            self._announcements.accepted(result)
        return build

    def take(self, result: BuildResult) -> Build | None:
        """Take a build that waits elsewhere, or waits to be taken over; it is not queued yet.

        None where it does not wait any more. Raises ``Refused`` (``journal_unavailable``).
        """
        row = self._journal.take(result.request.event_hash, from_others=True)
        return None if row is None else self.taken(row)

    def taken(self, row: OpenBuild) -> Build | None:
        """Return the live build of a row that is this replica's now, made if it is not known yet.

        None where the build has ended since the row was read.
        """
        if self._journal.shared:
            # The row was open a moment ago: an end that is known here is from before.
            self.out_of_date(row.request.event_hash)
        return self.adopt(row.request, row.attempts)

    def holds(self, build: Build) -> bool:
        """Whether a build that waits is this replica's to end; it is from then on, if it waits.

        Raises ``Refused`` (``journal_unavailable``).
        """
        if not self._journal.shared:
            return True
        return self._journal.take(build.request.event_hash, from_others=True) is not None

    # -- changes of state ----------------------------------------------------------------------

    def accepted(self, builds: Sequence[Build]) -> list[Build]:
        """Builds were recorded; returns those that are to be queued.

        The others are in the queue already: they were taken over in the same moment.
        """
        entering = self._live.add(builds)
        for build in builds:
            result = BuildResult(request=build.request, state=BuildState.QUEUED)
            self._results.put(result)
            log_state(result)
            self._announcements.accepted(result)
        return entering

    def creating(self, build: Build, image: str) -> None:
        """A worker begins an attempt."""
        self._change(
            build, state=BuildState.CREATING, attempts=build.attempts, image=image, error=None
        )

    def retrying(self, build: Build, error: BuildError, delay: float) -> None:
        """An attempt failed and another follows after ``delay`` seconds."""
        self._change(
            build,
            {"delay_seconds": round(delay, 3)},
            state=BuildState.RETRYING,
            attempts=build.attempts,
            error=error,
        )

    def created(self, build: Build, job: CreatedJob) -> bool:
        """The build's Job exists; False, and nothing is told, where the build was cancelled."""
        if not self._live.settle(build, despite_cancel=False):
            return False
        self._end(
            build,
            state=BuildState.CREATED,
            attempts=build.attempts,
            error=None,
            job_uid=job.uid,
            namespace=self._namespace,
            created_at=job.created_at or time.time(),
        )
        return True

    def dead(self, build: Build, error: BuildError) -> None:
        """No Job could be made; the event goes to the dead letters."""
        self._end(
            build,
            state=BuildState.DEAD,
            attempts=build.attempts,
            error=error,
            finished_at=time.time(),
        )

    def cancelled(self, build: Build, message: str = "cancelled before its Job was made") -> None:
        """The build was taken back and has no Job."""
        self._end(
            build,
            state=BuildState.CANCELLED,
            error=BuildError("cancelled", message),
            finished_at=time.time(),
        )

    def skipped(self, build: Build, job_name: str) -> None:
        """Another event's Job for the same target is active, so the build got none."""
        self._end(
            build,
            state=BuildState.CANCELLED,
            attempts=build.attempts,
            error=_skipped_for(job_name),
            finished_at=time.time(),
        )

    def turned_away(self, result: BuildResult) -> None:
        """An event got no build, as was recorded: it is known when it is delivered again."""
        self._results.put(result)
        log_state(result)
        # The outcome is recorded: no start would tell of it again.
        self._announcements.accepted(result, soon=True)

    def job_cancelled(self, result: BuildResult) -> BuildResult:
        """The build's Job was deleted because somebody asked for it."""
        ended = _without_job(result)
        self._results.put(ended)
        self._tell_of_deletion(ended)
        return ended

    def job_missing(self, known: BuildResult) -> bool:
        """The API has the Job of ``known`` no more, though nobody saw it go: it was deleted.

        False where the build has ended already, or has another Job by now.
        """
        settled: list[BuildResult] = []

        def take(old: BuildResult) -> BuildResult:
            if old.state not in _WITH_JOB or old.job_uid != known.job_uid:
                return old
            settled.append(_without_job(old))
            return settled[0]

        self._results.change(known.request.event_hash, take)
        for ended in settled:
            self._tell_of_deletion(ended)
        return bool(settled)

    def keep(self, timeout: float) -> bool:
        """Wait until the next process will know of every change; False when time was up."""
        return self._journal.flush(timeout)

    def with_job(self) -> list[BuildResult]:
        """Return the builds whose Jobs have not ended, as far as is known."""
        return self._results.with_job()

    def _tell_of_deletion(self, ended: BuildResult) -> None:
        log_state(ended)
        self._journal.finish(ended, self._announcements.ended(ended))

    def job_changed(self, record: JobRecord) -> BuildResult | None:
        """Take what the watch shows of a Job; None where its build is not known here, or waits.

        A build that was declared dead is healed by its Job; one that was cancelled stays so.
        """
        known = self._build_of(record)
        if known is None or self._live.get(known.request.event_hash) is not None:
            return None
        before: list[BuildResult] = []

        def take(old: BuildResult) -> BuildResult:
            before.append(old)
            new = with_job(old, record, self._namespace)
            if new is not old and (new.state.final or old.state is BuildState.DEAD):
                # Before anybody can see the end, and let the build go again; and once more when
                # it was found out why it failed, or what it pushed.
                self._journal.finish(new)
            return new

        result = self._results.change(known.request.event_hash, take)
        if result is not None:
            log_change(before[0], result)
        return result

    def knows(self, record: JobRecord) -> bool:
        """Whether the build of a Job is known here, be it that it still waits."""
        return self._build_of(record) is not None

    def _build_of(self, record: JobRecord) -> BuildResult | None:
        for result in self._results.by_id(record.name):
            if digest_bytes(result.request.event_hash) == record.event_hash:
                return result
        return None

    def learn(self, record: JobRecord) -> None:
        """Take a Job's build from the journal to what is known here, where it is not known."""
        if self._build_of(record) is not None:
            return
        with suppress(Refused):
            for result in self._journal.find_by_id(record.name):
                is_meant = digest_bytes(result.request.event_hash) == record.event_hash
                if is_meant and result.state in _WITH_JOB and self._results.add(result):
                    return

    @contextmanager
    def reopening(self, result: BuildResult) -> Iterator[Build]:
        """Let a dead or failed build go again, once, if the block inside ends well.

        Raises ``Refused``: ``not_retryable`` where another has let it go again meanwhile, and
        ``journal_unavailable`` when that cannot be recorded.
        """
        fresh = Build(replace(result.request, accepted_at=round(time.time(), 3)), entered=True)
        event_hash = fresh.request.event_hash
        build = self._live.add_unless(
            fresh, lambda: not (self._results.by_event(event_hash) or result).state.retryable
        )
        if build is not fresh:
            raise _goes_again(fresh)
        try:
            yield fresh
            if not self._journal.reopen(fresh.request):
                raise _goes_again(fresh)
        except BaseException:
            self._live.drop(fresh)
            raise
        again = BuildResult(request=fresh.request, state=BuildState.QUEUED)
        self._results.put(again)
        log_state(again, again=True)

    def take_over(self, result: BuildResult) -> None:
        """Know a build that ended at another replica, from now on, as this one's own."""
        if self._results.by_event(result.request.event_hash) is None:
            self._results.put(result)
            self._journal.finish(result)

    def moved(self, build: Build) -> None:
        """The build goes on at another replica: here nothing is known of it any more."""
        self._live.drop(build)
        self._results.discard(build.request.event_hash)

    def out_of_date(self, event_hash: str) -> None:
        """What became of a build is known elsewhere; forget what is known here, unless it waits."""
        if self._live.get(event_hash) is None:
            self._results.discard(event_hash)

    def abandoned(self, build: Build) -> None:
        """The service stops, nothing will remember the build, and nobody else took it."""
        self.dead(build, BuildError("shutdown", "the service stopped before its Job was made"))

    def handed_off(self, request: BuildRequest) -> None:
        """Another replica was given the event: here it was never accepted.

        A row left behind would have the event taken for a duplicate when it comes back.
        """
        self._journal.forget(request.event_hash)
        self._results.discard(request.event_hash)
        build = self._live.get(request.event_hash)
        if build is not None:
            self._live.drop(build)

    # -- telling -------------------------------------------------------------------------------

    def _change(
        self, build: Build, extra: dict[str, Any] | None = None, **changes: Any
    ) -> BuildResult:
        result = self._results.change(build.request.event_hash, lambda old: old.but(**changes))
        if result is None:
            result = BuildResult(request=build.request, **changes)
            self._results.put(result)
        log_state(result, **(extra or {}))
        return result

    def _end(self, build: Build, **changes: Any) -> None:
        self._live.settle(build)
        result = self._change(build, **changes)
        self._journal.finish(result, self._announcements.ended(result))
        self._live.drop(build)
        if not build.future.done():
            build.future.set_result(result)


def _goes_again(build: Build) -> Refused:
    return Refused(RefusalCode.NOT_RETRYABLE, f"build {build.request.job_name} goes again already")


def turning_away(request: BuildRequest) -> BuildResult:
    """Return the outcome of an event that is answered with the active Job which it names."""
    return BuildResult(
        request=request.without_event(),
        state=BuildState.CANCELLED,
        error=_skipped_for(request.job_name),
        finished_at=time.time(),
    )


def _skipped_for(job_name: str) -> BuildError:
    return BuildError(SKIPPED, f"job {job_name} for the same target is active")


def _without_job(result: BuildResult) -> BuildResult:
    return result.but(
        state=BuildState.CANCELLED,
        error=BuildError("cancelled", "its Job was deleted"),
        finished_at=time.time(),
    )
