"""FailureBackoff: what failed for what its tenant sent is not built again at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from lambda_builder.builds import BuildRequest, BuildState, FailureCategory
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.kube.record import JobRecord
from lambda_builder.telemetry.metrics import Metrics

_CATEGORIES = frozenset(
    {FailureCategory.DOCKERFILE, FailureCategory.CONTEXT, FailureCategory.DEPENDENCY}
)
"""Failures that the same files meet again."""


class FailureBackoff:
    """Judges builds by the last Job of their targets, of any replica; thread-safe."""

    def __init__(
        self,
        jobs_of: Callable[[str, str], Sequence[JobRecord]],
        known: Callable[[JobRecord], JobRecord],
        metrics: Metrics,
        *,
        seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``jobs_of`` returns the Jobs of a third party's parser, ``known`` one with why it failed.

        ``clock`` is in seconds since the epoch.
        """
        self._jobs_of = jobs_of
        self._known = known
        self._metrics = metrics
        self._seconds = seconds
        self._clock = clock

    def admit(self, requests: Sequence[BuildRequest]) -> None:
        """Raise ``Refused`` (``failure_backoff``) where one of them would come too soon."""
        for request in requests:
            left = self._seconds_left(request)
            if left > 0:
                self._metrics.rate_limited.labels("failure_backoff").inc()
                raise Refused(
                    RefusalCode.FAILURE_BACKOFF,
                    "the last build of this parser failed a moment ago, please retry later, "
                    f"or retry that one: {request.parser_id[:100]!r}",
                    retry_after=math.ceil(left),
                )

    def _seconds_left(self, request: BuildRequest) -> float:
        jobs = self._jobs_of(request.third_party_id, request.parser_id)
        if not jobs:
            return 0.0
        last = self._known(max(jobs, key=lambda job: (job.created_at or 0.0, job.name)))
        error = last.error
        if last.state is not BuildState.FAILED or error is None or last.finished_at is None:
            return 0.0
        if error.category not in _CATEGORIES:
            return 0.0
        return last.finished_at + self._seconds - self._clock()
