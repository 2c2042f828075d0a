"""BuildCommands: builds cancelled and retried."""

from __future__ import annotations

import queue
from concurrent.futures import TimeoutError as FutureTimeout

from lambda_builder.builds import BuildResult, BuildState, CancelRequest
from lambda_builder.errors import AttemptFailed, RefusalCode, Refused
from lambda_builder.pipeline.acceptance import entry_for, queue_full, shutting_down
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.runner import BuildRunner
from lambda_builder.problems import kubernetes_away, kubernetes_failed
from lambda_builder.steering.queries import BuildFinder, Results

_CANCEL_SECONDS = 10.0
"""Longest wait for a worker to let go of a build that is being cancelled."""
_DELETE_SECONDS = 10.0
"""Longest wait for an old Job to be gone before a retry."""


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

    def cancel(self, build_id: str) -> BuildResult:
        """Take a build back: out of the queue, or its Job deleted with its pods."""
        unfinished = [
            result for result in self._finder.find_all(build_id) if not result.state.final
        ]
        return self._cancel(self._only(unfinished, build_id))

    def cancel_by_event(self, request: CancelRequest, *, accepted_before: float) -> None:
        """Cancel what a cancel event means; what has finished is not an error.

        Builds accepted after ``accepted_before`` (seconds since the epoch) are not meant. Raises
        ``Refused``: ``not_found`` where no such build is known here, and
        ``kubernetes_unavailable`` while that cannot be known or done.
        """
        meant = [
            result
            for result in self._meant(request)
            if result.request.accepted_at <= accepted_before
        ]
        if not meant:
            raise Refused(RefusalCode.NOT_FOUND, "no such build is known here")
        for result in meant:
            if result.state.final:
                continue
            try:
                self._cancel(result)
            except Refused as refusal:
                if refusal.code is not RefusalCode.ALREADY_FINISHED:
                    raise

    def _meant(self, request: CancelRequest) -> Results:
        ids = [i for i in (request.job_name, request.target_correlation_id) if i]
        if ids:
            return self._finder.find_all(ids[0])
        return self._finder.unfinished_of_target(
            request.third_party_id or "", request.parser_id or ""
        )

    def _only(self, results: Results, build_id: str) -> BuildResult:
        if not results:
            raise Refused(RefusalCode.ALREADY_FINISHED, f"build {build_id!r} has already finished")
        if len(results) > 1:
            names = ", ".join(result.request.job_name for result in results[:10])
            raise Refused(
                RefusalCode.AMBIGUOUS, f"{build_id!r} has several builds, name one Job: {names}"
            )
        return results[0]

    def _cancel(self, result: BuildResult) -> BuildResult:
        event_hash = result.request.event_hash
        build = self._live.get(event_hash)
        if build is None and result.state.waits:  # of an earlier process, and not replayed yet
            build = self._ledger.adopt(result.request, result.attempts)
            result = self._results.by_event(event_hash) or result
        if build is None:
            return self._delete_job(result)
        if not build.tried:
            entry = self._queue.remove(event_hash)
            if entry is not None:
                self._ledger.cancelled(build)
                self._queue.finish(entry, "cancelled")
                return build.future.result()
        if self._live.settle_outside(build):
            self._ledger.cancelled(build)
            return build.future.result()
        cancelling = self._live.ask_to_cancel(build)
        self._queue.hurry(event_hash)
        try:
            settled = build.future.result(_CANCEL_SECONDS)
        except FutureTimeout:
            raise kubernetes_away(
                f"{result.request.job_name} is marked as cancelled and will be, but cannot be yet"
            ) from None
        return settled if cancelling else self._delete_job(settled)

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

    def retry(self, build_id: str) -> BuildResult:
        """Let a dead or failed build go again; its old Job is deleted first."""
        states = (BuildState.DEAD, BuildState.FAILED)
        found = [result for result in self._finder.find_all(build_id) if result.state in states]
        if not found:
            raise Refused(
                RefusalCode.NOT_RETRYABLE, f"build {build_id!r} is neither dead nor failed"
            )
        result = self._finder.with_event(self._only(found, build_id))
        if not result.request.event:
            raise Refused(
                RefusalCode.NOT_RETRYABLE,
                "the Job does not say all that was asked for; please send the event again",
            )
        size = result.request.event_bytes
        self._reserve(size)
        try:
            with self._ledger.reopening(result) as build:
                self._clear_old_job(result)
        except BaseException:
            self._queue.release(1, size)
            raise
        self._queue.put_reserved([entry_for(build)])
        return self._results.by_event(result.request.event_hash) or result

    def _reserve(self, size: int) -> None:
        try:
            self._queue.reserve(1, size)
        except queue.Full:
            raise queue_full(self._queue) from None
        except QueueClosed:
            raise shutting_down() from None

    def _clear_old_job(self, result: BuildResult) -> None:
        try:
            self._runner.remove(result.request, wait_seconds=_DELETE_SECONDS)
        except AttemptFailed as error:
            raise kubernetes_failed(
                error, f"the old job {result.request.job_name} was not deleted"
            ) from error
