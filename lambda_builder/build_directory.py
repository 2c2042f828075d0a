"""BuildDirectory: finds builds wherever they are known, and steers them: cancel, retry, logs.

This replica's own store answers first; for builds of other replicas, or from before a restart,
the Job itself does.
"""

from __future__ import annotations

import base64
import binascii
import queue
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from itertools import islice

from lambda_builder.acceptance import entry_for, queue_full, shutting_down
from lambda_builder.build_logs import BuildLogs
from lambda_builder.build_queue import BuildQueue, QueueClosed
from lambda_builder.build_records import Build, BuildRecords
from lambda_builder.build_runner import BuildRunner
from lambda_builder.builds import BuildResult, BuildState, CancelRequest
from lambda_builder.errors import AttemptFailed, RefusalCode, Refused
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.job_manager import JobManager
from lambda_builder.kube.job_status import job_result

_CANCEL_SECONDS = 10.0
"""Longest wait for a worker to let go of a build that is being cancelled."""
_DELETE_SECONDS = 10.0
"""Longest wait for an old Job to be gone before a retry."""


Results = list[BuildResult]


class BuildDirectory:
    """Reading and steering of builds; thread-safe. Every method raises ``Refused``."""

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        records: BuildRecords,
        runner: BuildRunner,
        jobs: JobManager,
        health: ApiHealth,
        logs: BuildLogs,
    ) -> None:
        self._queue = build_queue
        self._records = records
        self._runner = runner
        self._jobs = jobs
        self._health = health
        self._logs = logs

    # -- reading -------------------------------------------------------------------------------

    def get(self, build_id: str) -> BuildResult:
        """Return the newest build with this correlation ID or Job name."""
        return self._find(build_id)[0]

    def list(
        self,
        *,
        state: BuildState | None = None,
        third_party_id: str | None = None,
        correlation_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[Results, str | None]:
        """Return the builds this replica knows, newest first, and the cursor of the next page."""
        newest = self._records.results.newest(before=_read_cursor(cursor))
        matching = (
            (number, result)
            for number, result in newest
            if (state is None or result.state is state)
            and third_party_id in (None, result.request.third_party_id)
            and correlation_id in (None, result.request.correlation_id)
        )
        page = [*islice(matching, limit + 1)]
        more = len(page) > limit
        return [result for _, result in page[:limit]], _cursor(page[limit - 1][0]) if more else None

    def open_log(self, build_id: str, *, follow: bool) -> Iterator[bytes]:
        """Stream the build container's log; waits for the pod when ``follow``."""
        return self._logs.open(self.get(build_id), follow=follow)

    def _find(self, build_id: str) -> Results:
        found = self._records.results.by_id(build_id)
        found = found or self._records.journal.find_by_id(build_id) or self._find_jobs(build_id)
        if not found:
            raise Refused(
                RefusalCode.NOT_FOUND,
                f"no build {build_id[:253]!r} is known; it may have expired",
            )
        return found

    def _find_all(self, build_id: str) -> Results:
        """Find as ``get``, and what other replicas made under the same correlation ID."""
        found = {result.request.job_name: result for result in self._find(build_id)}
        if build_id not in found and self._health.available:
            others = {result.request.job_name: result for result in self._find_jobs(build_id)}
            found = {**others, **found}
        return [*found.values()]

    def _find_jobs(self, build_id: str) -> Results:
        if not self._health.available:
            raise _kubernetes_away("cannot look the build up")
        try:
            found = [self._jobs.get_job(build_id)] if _is_job_name(build_id) else []
            jobs = [job for job in found if job] or self._jobs.find_by_correlation(build_id)
        except AttemptFailed as error:
            raise _kubernetes_away(str(error)) from error
        results = [job_result(job) for job in jobs]
        return sorted(results, key=lambda result: result.created_at or 0.0, reverse=True)

    # -- cancelling ----------------------------------------------------------------------------

    def cancel(self, build_id: str) -> BuildResult:
        """Take a build back: out of the queue, or its Job deleted with its pods."""
        unfinished = [result for result in self._find_all(build_id) if not result.state.final]
        return self._cancel(self._only(unfinished, build_id))

    def cancel_by_event(self, request: CancelRequest) -> None:
        """Cancel what a cancel event means; what is unknown or finished is not an error.

        Raises ``Refused`` (``kubernetes_unavailable``) while that cannot be known or done.
        """
        for result in self._meant(request):
            try:
                self._cancel(result)
            except Refused as refusal:
                if refusal.code is not RefusalCode.ALREADY_FINISHED:
                    raise

    def _meant(self, request: CancelRequest) -> Results:
        ids = [i for i in (request.job_name, request.target_correlation_id) if i]
        if not ids:
            return self._of_target(request.third_party_id or "", request.parser_id or "")
        try:
            found = self._find_all(ids[0])
        except Refused as refused:
            if refused.code is RefusalCode.NOT_FOUND:
                return []
            raise
        return [result for result in found if not result.state.final]

    def _of_target(self, third_party_id: str, parser_id: str) -> Results:
        """Return the unfinished builds of a target, those of other replicas included."""
        found = {
            result.request.job_name: result
            for _, result in self._records.results.newest()
            if result.request.third_party_id == third_party_id
            and result.request.parser_id == parser_id
            and not result.state.final
        }
        try:
            for job in self._jobs.find_active_by_target(third_party_id, parser_id):
                result = job_result(job)
                found.setdefault(result.request.job_name, result)
        except AttemptFailed as error:
            if not found:
                raise _kubernetes_away(str(error)) from error
        return [*found.values()]

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
        build = self._records.live(result.request.event_hash)
        if build is None:
            return self._delete_job(result)
        if build.attempts == 0:
            entry = self._queue.remove(result.request.event_hash)
            if entry is not None:
                self._records.cancelled(build)
                self._queue.finish(entry, "cancelled")
                return build.future.result()
        cancelling = self._records.ask_to_cancel(build)
        try:
            settled = build.future.result(_CANCEL_SECONDS)
        except FutureTimeout:
            # Marked, it will be cancelled once its worker can; its state says so then.
            return self._records.results.by_event(result.request.event_hash) or result
        return settled if cancelling else self._delete_job(settled)

    def _delete_job(self, result: BuildResult) -> BuildResult:
        name = result.request.job_name
        try:
            there = self._runner.remove(result.request)
        except AttemptFailed as error:
            raise _kubernetes_away(f"job {name} was not deleted: {error}") from error
        if not there:
            raise Refused(RefusalCode.ALREADY_FINISHED, f"job {name} is gone already")
        return self._records.job_cancelled(result)

    # -- retrying ------------------------------------------------------------------------------

    def retry(self, build_id: str) -> BuildResult:
        """Let a dead or failed build go again; its old Job is deleted first."""
        states = (BuildState.DEAD, BuildState.FAILED)
        found = [result for result in self._find_all(build_id) if result.state in states]
        if not found:
            raise Refused(
                RefusalCode.NOT_RETRYABLE, f"build {build_id!r} is neither dead nor failed"
            )
        result = self._only(found, build_id)
        self._reserve()
        try:
            self._clear_old_job(result)
            build = self._records.reopened(result)
        except BaseException:
            self._queue.release()
            raise
        self._queue.put_reserved([entry_for(build)])
        return self._records.results.by_event(result.request.event_hash) or result

    def _reserve(self) -> None:
        try:
            self._queue.reserve()
        except queue.Full:
            raise queue_full(self._queue) from None
        except QueueClosed:
            raise shutting_down() from None

    def _clear_old_job(self, result: BuildResult) -> None:
        try:
            self._runner.remove(result.request, wait_seconds=_DELETE_SECONDS)
        except AttemptFailed as error:
            raise _kubernetes_away(
                f"the old job {result.request.job_name} was not deleted: {error}"
            ) from error


def _kubernetes_away(detail: str) -> Refused:
    return Refused(RefusalCode.KUBERNETES_UNAVAILABLE, f"Kubernetes API: {detail}", retry_after=5)


def _is_job_name(build_id: str) -> bool:
    return build_id.startswith("build-") and len(build_id) <= 63


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % number).decode()


def _read_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        return int(base64.urlsafe_b64decode(cursor))
    except (ValueError, binascii.Error):
        raise Refused(
            RefusalCode.INVALID_PARAMETER, "cursor: take it from next_cursor, unchanged"
        ) from None
