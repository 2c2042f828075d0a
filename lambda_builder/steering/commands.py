"""BuildCommands: builds cancelled and retried."""

from __future__ import annotations

import math
import queue
import time
from concurrent.futures import wait

from lambda_builder.builds import BuildResult
from lambda_builder.errors import AttemptFailed, RefusalCode, Refused
from lambda_builder.pipeline.acceptance import entry_for, queue_full, shutting_down, tenants_of
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.runner import BuildRunner
from lambda_builder.problems import kubernetes_away, kubernetes_failed
from lambda_builder.steering.queries import BuildFinder, Results, of_tenants
from lambda_builder.tenants import EVERYTHING, Reach

_CANCEL_SECONDS = 10.0
"""Longest wait for a worker to let go of a build that is being cancelled."""
_LOOK_SECONDS = 0.1
_WAY_SECONDS = 1.0
"""Far longer than a build takes from being known to its place in the queue."""
"""How soon it is seen that the worker has let go."""
_TAKES = 5
"""Tries to take a build that waits and is not known here."""
_SETTLE_SECONDS = 1.0
"""How long an outcome can be seen before everybody has been told of it."""
_DELETE_SECONDS = 10.0
"""Longest wait for an old Job to be gone before a retry."""


class _Gone(Exception):
    """The build has an outcome that another replica stored."""


class BuildCommands:
    """Steering of builds; thread-safe. Every method raises ``Refused``."""

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        ledger: Ledger,
        live: LiveBuilds,
        results: ResultStore,
        runner: BuildRunner,
        finder: BuildFinder,
    ) -> None:
        self._queue = build_queue
        self._ledger = ledger
        self._live = live
        self._results = results
        self._runner = runner
        self._finder = finder

    def cancel(self, build_id: str, reach: Reach = EVERYTHING) -> BuildResult:
        """Take a build back: out of the queue, or its Job deleted with its pods."""
        found = self._steerable(build_id, reach)
        unfinished = [result for result in found if not result.state.final]
        cancelled = self._cancel(self._only(unfinished, build_id), patience=_CANCEL_SECONDS)
        self.keep(repr(build_id))
        return cancelled

    def _steerable(self, build_id: str, reach: Reach) -> Results:
        """Return the builds that are meant; raises ``Refused`` where they may only be read."""
        found = of_tenants(self._finder.find(build_id, reach.read), reach.steer)
        if not found:
            raise Refused(RefusalCode.FORBIDDEN, f"build {build_id!r} may be read, but not steered")
        return found

    def keep(self, what: str) -> None:
        """Return once the journal has what was cancelled; raises ``Refused`` if it takes long."""
        if not self._ledger.keep(_CANCEL_SECONDS):
            raise Refused(
                RefusalCode.JOURNAL_UNAVAILABLE,
                f"{what} is cancelled, but not in the journal yet: a restart may forget it",
                retry_after=math.ceil(_CANCEL_SECONDS),
            )

    def cancel_one(self, result: BuildResult) -> None:
        """Take one unfinished build back, without waiting for a worker that has it in hand.

        Raises ``Refused`` (``kubernetes_unavailable``) where one has: then it is marked.
        """
        self._cancel(result, patience=0.0)

    def _only(self, results: Results, build_id: str) -> BuildResult:
        if not results:
            raise Refused(RefusalCode.ALREADY_FINISHED, f"build {build_id!r} has already finished")
        if len(results) > 1:
            names = ", ".join(result.request.job_name for result in results[:10])
            raise Refused(
                RefusalCode.AMBIGUOUS, f"{build_id!r} has several builds, name one Job: {names}"
            )
        return results[0]

    def _cancel(self, result: BuildResult, *, patience: float) -> BuildResult:
        """Cancel one build; waits ``patience`` seconds for a worker that has it in hand."""
        event_hash = result.request.event_hash
        build = self._live.get(event_hash)
        if build is None:
            build, result = self._take(result)
        if build is None:
            return self._delete_job(result)
        cancelling = self._live.ask_to_cancel(build)
        deadline = time.monotonic() + patience
        try:
            while not build.future.done() and not self._take_back(build):
                left = deadline - time.monotonic()
                if -_WAY_SECONDS < left <= 0 and self._is_on_its_way(build):
                    left = _LOOK_SECONDS
                if left <= 0:
                    raise _marked(build, "an attempt is under way")
                wait([build.future], min(left, _LOOK_SECONDS))
        except _Gone:
            return self._delete_job(self._finder.again(result))
        settled = build.future.result()
        return settled if cancelling else self._delete_job(settled)

    def _take(self, result: BuildResult) -> tuple[Build | None, BuildResult]:
        """Take a build that waits at another replica, or to be taken over; how it is without."""
        for _ in range(_TAKES):
            if not result.state.waits:
                break
            build = self._ledger.take(result)
            if build is not None:
                return build, result
            # It has gone on, or this replica is about to let it go.
            result = self._finder.again(result)
            if result.state.waits:
                time.sleep(_LOOK_SECONDS)
        return None, result

    def _is_on_its_way(self, build: Build) -> bool:
        """Whether a build is about to be put into the queue, or to end: no worker has it."""
        return not self._queue.is_held(build.request.event_hash)

    def _take_back(self, build: Build) -> bool:
        """End a cancelled build that no worker has in hand; False where one does.

        One that is not in the queue gets there by itself, and ends there, where this fails.
        """
        entry = self._queue.remove(build.request.event_hash)
        if entry is None and build.entered:
            return False
        try:
            if not self._ledger.holds(build):
                raise _Gone
            if build.uncertain:
                self._runner.remove(build.request)
        except BaseException as error:
            if isinstance(error, _Gone):
                self._ledger.moved(build)
                if entry is not None:
                    self._queue.leave(entry)
            elif entry is not None:
                self._queue.give_back(entry)
            if isinstance(error, AttemptFailed):
                raise _marked(build, str(error)) from error
            raise
        if entry is None and not self._live.settle_outside(build):
            return False
        self._ledger.cancelled(build)
        if entry is None:
            self._queue.count("cancelled")
        else:
            self._queue.finish(entry, "cancelled")
        return True

    def _delete_job(self, result: BuildResult) -> BuildResult:
        name = result.request.job_name
        try:
            job = self._runner.current(result.request)
            if job is None:
                raise Refused(RefusalCode.ALREADY_FINISHED, f"job {name} is gone already")
            if job.state.final:
                # The watch may be a moment behind: what has ended is kept, with its log.
                raise Refused(RefusalCode.ALREADY_FINISHED, f"job {name} has {job.state.value}")
            self._runner.remove(result.request)
        except AttemptFailed as error:
            raise kubernetes_failed(error, f"job {name} was not deleted") from error
        return self._ledger.job_cancelled(result)

    # -- retrying ------------------------------------------------------------------------------

    def retry(self, build_id: str, reach: Reach = EVERYTHING) -> BuildResult:
        """Let a dead or failed build go again; its old Job is deleted first."""
        found = [r for r in self._steerable(build_id, reach) if r.state.retryable]
        if not found:
            raise Refused(
                RefusalCode.NOT_RETRYABLE, f"build {build_id!r} is neither dead nor failed"
            )
        return self.retry_one(self._only(found, build_id), wait_seconds=_DELETE_SECONDS)

    def retry_one(self, result: BuildResult, *, wait_seconds: float) -> BuildResult:
        """Let one dead or failed build go again; waits so long for its old Job to be gone."""
        result = self._finder.with_event(result)
        if not result.request.event:
            raise Refused(
                RefusalCode.NOT_RETRYABLE,
                "the Job does not say all that was asked for; please send the event again",
            )
        live = self._live.get(result.request.event_hash)
        if live is not None and live.settled:
            wait([live.future], _SETTLE_SECONDS)
        size = result.request.event_bytes
        tenants = tenants_of([result.request])
        self._reserve(size, tenants)
        try:
            with self._ledger.reopening(result) as build:
                # Once its Job goes, nothing else would tell of a build that another replica made.
                self._ledger.take_over(result)
                self._clear_old_job(result, wait_seconds)
        except BaseException:
            self._queue.release(1, size, tenants)
            raise
        self._queue.put_reserved([entry_for(build)])
        return self._results.by_event(result.request.event_hash) or result

    def _reserve(self, size: int, tenants: list[str]) -> None:
        try:
            self._queue.reserve(1, size, tenants)
        except queue.Full as full:
            raise queue_full(self._queue, full) from None
        except QueueClosed:
            raise shutting_down() from None

    def _clear_old_job(self, result: BuildResult, wait_seconds: float) -> None:
        def check() -> None:
            if self._finder.went_again(result):
                name = result.request.job_name
                raise Refused(RefusalCode.NOT_RETRYABLE, f"build {name} goes again already")

        try:
            # Who let it go again at the same moment may have made its new Job by now.
            self._runner.remove(result.request, wait_seconds=wait_seconds, check=check)
        except AttemptFailed as error:
            raise kubernetes_failed(
                error, f"the old job {result.request.job_name} was not deleted"
            ) from error


def _marked(build: Build, why: str) -> Refused:
    name = build.request.job_name
    return kubernetes_away(f"{name} is marked as cancelled and will be, but cannot be yet: {why}")
