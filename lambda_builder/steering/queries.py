"""BuildFinder: finds builds wherever they are known.

This replica's own store answers first; for builds of other replicas, or from before a restart,
the journal does, and the Job itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from lambda_builder.builds import BuildResult, BuildState, digest_bytes
from lambda_builder.errors import AttemptFailed, RefusalCode, Refused
from lambda_builder.journal import Journal
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.status import Job, is_ours, job_result, with_what_was_asked
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.problems import kubernetes_away, kubernetes_failed
from lambda_builder.selection import OF_RESULTS, BuildFilter, place_of, select
from lambda_builder.tenants import ALL_TENANTS, Tenants

_JOB_NAME = re.compile(r"build-[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?")
"""A DNS-1123 label that ours could be; anything else must not get into a path of the API."""

_ELSEWHERE_MAX = 500
"""Most builds of a target that other replicas made which are looked at."""

T = TypeVar("T")
Results = list[BuildResult]
Current = Callable[[BuildResult], BuildResult | None]


class BuildFinder:
    """Looks builds up; thread-safe. Every method raises ``Refused``."""

    def __init__(
        self,
        results: ResultStore,
        journal: Journal,
        jobs: JobManager,
        watcher: JobWatcher,
        health: ApiHealth,
        current: Current,
    ) -> None:
        """``current`` brings a result that nobody keeps current up to its Job, or says None."""
        self._results = results
        self._journal = journal
        self._jobs = jobs
        self._watcher = watcher
        self._health = health
        self._current = current

    def get(self, build_id: str, tenants: Tenants = ALL_TENANTS) -> BuildResult:
        """Return the newest build of these tenants with this correlation ID or Job name."""
        return self.find(build_id, tenants)[0]

    def find(self, build_id: str, tenants: Tenants = ALL_TENANTS) -> Results:
        """Return the builds of these tenants with this correlation ID or Job name, newest first.

        Of several events that share a Job name only the newest counts.
        """
        found = of_tenants(self.find_known(build_id), tenants)
        found = found or of_tenants(self._find_jobs(build_id), tenants)
        if not found:
            raise Refused(
                RefusalCode.NOT_FOUND,
                f"no build {build_id[:253]!r} is known; it may have expired",
            )
        return found

    def find_known(self, build_id: str, *, active: bool = False) -> Results:
        """Find what this replica, its journal or the watch knows.

        The API is asked only where the watch shows a Job, with ``active`` an unfinished one, that
        another replica made; with ``active`` a refusal of that counts even where more is known.
        """
        record = self._watcher.by_name(build_id)
        shown = self._watcher.of_correlation(build_id) if record is None else [record]
        own = self._results.by_id(build_id)
        if not own or self._journal.shared:
            read = partial(self._journal.find_by_id, build_id)
            own = self._with_recorded(own, read, shown, active=active)
        if record is not None:
            return self._merged(own, shown, lambda: self._job(build_id), active=active)
        look = lambda: self._jobs.find_by_correlation(build_id)  # noqa: E731
        return self._merged(own, shown, look, active=active)

    def again(self, result: BuildResult) -> BuildResult:
        """Return a build as this replica or the journal knows it by now."""
        event_hash = result.request.event_hash
        known = self._results.by_event(event_hash)
        if known is None or known.state.waits:
            known = self._journal.find(event_hash) or known
        return known or result

    def went_again(self, result: BuildResult) -> bool:
        """Whether another replica has let a dead or failed build go again since."""
        if not self._journal.shared:
            return False
        known = self._journal.find(result.request.event_hash)
        return (
            known is not None
            and not known.state.retryable
            and known.request.accepted_at > result.request.accepted_at
        )

    def find_target(self, third_party_id: str, parser_id: str, *, active: bool) -> Results:
        """Return the builds of a target that replicas know or that have Jobs, newest first.

        With ``active`` only unfinished Jobs of other replicas count.
        """
        wanted = BuildFilter(third_party_id=third_party_id, parser_id=parser_id)
        own = select(self._results.all(), wanted, OF_RESULTS)
        own.sort(key=place_of, reverse=True)
        shown = self._watcher.of_target(third_party_id, parser_id)
        read = partial(self._journal.elsewhere, wanted, before=None, limit=_ELSEWHERE_MAX)
        own = self._with_recorded(own, read, shown, active=active)
        return self._merged(
            own,
            shown,
            lambda: self._jobs.find_by_target(third_party_id, parser_id, active=active),
            active=active,
        )

    def find_waiting(self, third_party_id: str, parser_id: str) -> Results:
        """Return the builds of a target that wait at other replicas, newest first."""
        wanted = BuildFilter(
            third_party_id=third_party_id,
            parser_id=parser_id,
            states=frozenset({BuildState.QUEUED}),
        )
        return self._journal.elsewhere(wanted, before=None, limit=_ELSEWHERE_MAX)

    def _with_recorded(
        self,
        own: Results,
        read: Callable[[], Results],
        shown: Sequence[JobRecord],
        *,
        active: bool,
    ) -> Results:
        """Add what only the journal knows, where its Job still exists, at its place.

        While it cannot be read, what else is known counts, unless that has to be all (``active``).
        """
        try:
            recorded = read()
        except Refused:
            if active or not (own or shown):
                raise
            return own
        known = {result.request.event_hash for result in own}
        unknown = (r for r in recorded if r.request.event_hash not in known)
        more = [result for result in map(self._current, unknown) if result is not None]
        return sorted([*own, *more], key=place_of, reverse=True) if own and more else own or more

    def _merged(
        self,
        own: Results,
        shown: Sequence[JobRecord],
        look: Callable[[], list[Job]],
        *,
        active: bool,
    ) -> Results:
        """Return ``own`` builds and those of other replicas' Jobs, one for each Job name.

        Of events that share a name, what has not ended is newest, then whoever has the Job.
        """
        known = {digest_bytes(result.request.event_hash) for result in own}
        others: Results = []
        if any(r.event_hash not in known and (r.active or not active) for r in shown):
            try:
                others = self._results_of(self._ask_api(look))
            except Refused:
                if active or not own:
                    raise
        others = [r for r in others if digest_bytes(r.request.event_hash) not in known]
        newest: dict[str, BuildResult] = {}
        for result in [*own, *others]:
            rival = newest.setdefault(result.request.job_name, result)
            if self._rank(result) < self._rank(rival):
                newest[result.request.job_name] = result
        found = [*newest.values()]
        # The API's clock made all of these times; what never had a Job keeps its place in front.
        return sorted(found, key=_age) if others else found

    def _rank(self, result: BuildResult) -> int:
        if not result.state.final:
            return 0
        record = self._watcher.by_name(result.request.job_name)
        has_job = record is not None and record.event_hash == digest_bytes(
            result.request.event_hash
        )
        return 1 if has_job else 2

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
        """Ask the API, for what the watch may not have shown yet."""
        jobs = self._ask_api(lambda: self._job(build_id)) if _is_job_name(build_id) else []
        return self._results_of(
            jobs or self._ask_api(lambda: self._jobs.find_by_correlation(build_id))
        )

    def _job(self, name: str) -> list[Job]:
        job = self._jobs.get_job(name)
        return [] if job is None else [job]

    def _ask_api(self, call: Callable[[], T]) -> T:
        if not self._health.available:
            raise kubernetes_away("cannot look the build up")
        try:
            return call()
        except AttemptFailed as error:
            raise kubernetes_failed(error, "the build was not looked up") from error

    def _results_of(self, jobs: list[Job]) -> Results:
        """Return the builds of those Jobs that are ours, newest first."""
        results = []
        for job in filter(is_ours, jobs):
            result = with_what_was_asked(job_result(job), job)
            results.append(self._current(result) or result)
        return sorted(results, key=_age)


def of_tenants(results: Results, tenants: Tenants) -> Results:
    """Return those of the builds that are of these tenants."""
    if tenants.are_all:
        return results
    return [result for result in results if result.request.third_party_id in tenants]


def _age(result: BuildResult) -> float:
    return -math.inf if result.created_at is None else -result.created_at


def _is_job_name(build_id: str) -> bool:
    return _JOB_NAME.fullmatch(build_id) is not None
