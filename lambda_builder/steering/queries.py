"""BuildFinder: finds builds wherever they are known.

This replica's own store answers first; for builds of other replicas, or from before a restart,
the Job itself does.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.errors import AttemptFailed, RefusalCode, Refused
from lambda_builder.journal import Journal, NoJournal
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.status import is_ours, job_result, with_what_was_asked
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.problems import kubernetes_away, kubernetes_failed

_JOB_NAME = re.compile(r"build-[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?")
"""A DNS-1123 label that ours could be; anything else must not get into a path of the API."""

Results = list[BuildResult]
Current = Callable[[BuildResult], BuildResult | None]


class BuildFinder:
    """Looks builds up; thread-safe. Every method raises ``Refused``."""

    def __init__(
        self,
        results: ResultStore,
        journal: Journal | NoJournal,
        jobs: JobManager,
        health: ApiHealth,
        current: Current,
    ) -> None:
        """``current`` brings a result that nobody keeps current up to its Job, or says None."""
        self._results = results
        self._journal = journal
        self._jobs = jobs
        self._health = health
        self._current = current

    def page(
        self,
        *,
        state: BuildState | None = None,
        third_party_id: str | None = None,
        correlation_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> tuple[Results, str | None]:
        """Return the builds this replica knows, newest first, and the cursor of the next page."""
        newest = self._results.newest(before=_read_cursor(cursor))
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

    def get(self, build_id: str) -> BuildResult:
        """Return the newest build with this correlation ID or Job name."""
        return self.find(build_id)[0]

    def find(self, build_id: str) -> Results:
        """Return the builds with this correlation ID or Job name, newest first."""
        found = self._results.by_id(build_id)
        found = found or self._recorded(build_id) or self._find_jobs(build_id)
        if not found:
            raise Refused(
                RefusalCode.NOT_FOUND,
                f"no build {build_id[:253]!r} is known; it may have expired",
            )
        return found

    def _recorded(self, build_id: str) -> Results:
        """Find what the journal still knows, where its Job still exists."""
        recorded = map(self._current, self._journal.find_by_id(build_id))
        return [result for result in recorded if result is not None]

    def find_all(self, build_id: str) -> Results:
        """Find, and add what other replicas made under the same correlation ID."""
        found = {result.request.job_name: result for result in self.find(build_id)}
        if build_id not in found and self._health.available:
            with suppress(Refused):  # what is known here counts, whatever the API says
                others = {result.request.job_name: result for result in self._find_jobs(build_id)}
                found = {**others, **found}
        return [*found.values()]

    def with_event(self, result: BuildResult) -> BuildResult:
        """Return a build with its event, where memory let that go: from the journal, or its Job.

        Its ``request.event`` stays empty where neither has it.
        """
        request = result.request
        if request.event:
            return result
        recorded = self._journal.find(request.event_hash)
        if recorded is not None and recorded.request.event:
            return result.but(request=recorded.request)
        for other in self._find_jobs(request.job_name):
            if other.request.event_hash == request.event_hash:
                return result.but(request=other.request)
        return result

    def _find_jobs(self, build_id: str) -> Results:
        if not self._health.available:
            raise kubernetes_away("cannot look the build up")
        try:
            found = [self._jobs.get_job(build_id)] if _is_job_name(build_id) else []
            jobs = [job for job in found if job] or self._jobs.find_by_correlation(build_id)
        except AttemptFailed as error:
            raise kubernetes_failed(error, "the build was not looked up") from error
        results = []
        for job in filter(is_ours, jobs):
            result = with_what_was_asked(job_result(job), job)
            results.append(self._current(result) or result)
        return sorted(results, key=lambda result: result.created_at or 0.0, reverse=True)

    def unfinished_of_target(self, third_party_id: str, parser_id: str) -> Results:
        """Return the unfinished builds of a target, those of other replicas included."""
        found = {
            result.request.job_name: result
            for _, result in self._results.newest()
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
                raise kubernetes_failed(error, "builds were not looked up") from error
        return [*found.values()]


def _is_job_name(build_id: str) -> bool:
    return _JOB_NAME.fullmatch(build_id) is not None


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
