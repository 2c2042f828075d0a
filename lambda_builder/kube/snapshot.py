"""JobSnapshot: the Jobs of one moment, searched and put in order without an object of each."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from operator import itemgetter

from lambda_builder.builds import BuildError, BuildResult, BuildState, digest_bytes
from lambda_builder.kube.packing import (
    ERROR,
    EVENT_HASH,
    LOWER_TEXTS,
    NAME,
    PLACED_AT,
    STATE,
    TEXTS,
    UID,
    Packed,
    unpack,
)
from lambda_builder.kube.record import TEXTS as TEXT_NAMES
from lambda_builder.kube.record import JobRecord
from lambda_builder.selection import SEPARATOR, BuildFilter, Fields, Place, select


class JobSnapshot:
    """The Jobs of ours, by name; belongs to the thread that asked for it."""

    def __init__(
        self, by_name: dict[str, Packed], uids: Set[str], reasons: Mapping[str, BuildError]
    ) -> None:
        """``by_name`` is the snapshot's own; ``reasons`` are told instead of the Jobs' errors."""
        self._by_name = by_name
        self.uids = uids
        self._reasons = reasons
        self._fields = Fields(
            placed_at=itemgetter(PLACED_AT),
            state=itemgetter(STATE),
            third_party_id=_noted("third_party_id"),
            parser_id=_noted("parser_id"),
            correlation_id=_noted("correlation_id"),
            category=self._category,
            has=self._has,
        )

    def put_before(self, results: Iterable[BuildResult]) -> None:
        """Leave the Jobs of these builds out: more is known of them than their Jobs tell."""
        for request in (result.request for result in results):
            job = self._by_name.get(request.job_name)
            if job is not None and job[EVENT_HASH] == digest_bytes(request.event_hash):
                del self._by_name[request.job_name]

    def newest(
        self, wanted: BuildFilter, most: int, before: Place | None
    ) -> tuple[list[JobRecord], int]:
        """Return up to ``most`` Jobs that are ``wanted``, newest first, and how many there are.

        Only those ``before`` that place count, and only such as have an event.
        """
        # Most came in the order of acceptance: the newest first spares moving the rest about.
        jobs = [job for job in reversed(self._by_name.values()) if job[EVENT_HASH]]
        if before is not None:
            jobs = [job for job in jobs if job < before]
        for text in (wanted.correlation_id, wanted.third_party_id, wanted.parser_id):
            if text is not None:  # quickly seen, and leaves few to be looked at closely
                jobs = [job for job in jobs if text in job[TEXTS]]
        jobs = select(jobs, wanted, self._fields)
        return [self._record(job) for job in heapq.nlargest(most, jobs)], len(jobs)

    def _record(self, job: Packed) -> JobRecord:
        record = unpack(job)
        reason = self._reason(job)
        return record if reason is None else replace(record, error=reason)

    def _reason(self, job: Packed) -> BuildError | None:
        return self._reasons.get(job[UID]) if job[STATE] in _WITH_REASON else None

    def _category(self, job: Packed) -> str | None:
        reason = self._reason(job)
        if reason is not None:
            return reason.category
        return str(job[ERROR][2]) if job[ERROR] and job[ERROR][2] else None

    def _has(self, needle: str) -> Callable[[Packed], bool]:
        def has(job: Packed) -> bool:
            return (
                needle in job[LOWER_TEXTS]
                or needle in job[NAME]
                or needle in job[UID]
                or (job[STATE] in _WITH_REASON and needle in self._said(job))
            )

        return has

    def _said(self, job: Packed) -> str:
        reason = self._reason(job)
        said = (reason.code, reason.message) if reason else (job[ERROR] or ())[:2]
        return SEPARATOR.join(said).lower()


_WITH_REASON = frozenset({BuildState.CREATED, BuildState.FAILED})


def _noted(name: str) -> Callable[[Packed], str]:
    number = TEXT_NAMES.index(name)
    return lambda job: str(job[TEXTS].split(SEPARATOR, number + 1)[number])
