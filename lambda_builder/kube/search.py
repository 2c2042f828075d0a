"""JobSearch: the Jobs in the order in which they are listed, without an object of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import itemgetter

from lambda_builder.builds import BuildError, BuildState
from lambda_builder.kube.packing import (
    ERROR,
    LOWER_TEXTS,
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


class JobSearch:
    """Reads the Jobs a part at a time, for one thread; the parts are not of one moment."""

    def __init__(
        self,
        before: Callable[[Place | None, int], list[Packed]],
        reasons: Mapping[str, BuildError],
    ) -> None:
        """``before`` gives the Jobs next before a place, or the newest, the newest first; it is
        thread-safe. ``reasons``, by uid, are told instead of the Jobs' errors.
        """
        self.before = before
        self._reasons = reasons
        self._fields = Fields(
            placed_at=itemgetter(PLACED_AT),
            state=itemgetter(STATE),
            third_party_id=_noted("third_party_id"),
            parser_id=_noted("parser_id"),
            correlation_id=_noted("correlation_id"),
            category=self._category,
            having=self._having,
            noting=lambda text, jobs: [job for job in jobs if text in job[LOWER_TEXTS]],
        )

    def select(self, jobs: list[Packed], wanted: BuildFilter) -> list[Packed]:
        """Return those of the Jobs that are ``wanted``, in their order."""
        return select(jobs, wanted, self._fields)

    def record(self, job: Packed) -> JobRecord:
        """Return what is known of a Job, with the reason that was found out."""
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

    def _having(self, needle: str, jobs: list[Packed]) -> list[Packed]:
        return [
            job
            for job in jobs
            if needle in job[LOWER_TEXTS]
            or (job[STATE] in _WITH_REASON and self._says(needle, job))
        ]

    def _says(self, needle: str, job: Packed) -> bool:
        reason = self._reasons.get(job[UID])
        code, message = (reason.code, reason.message) if reason else (job[ERROR] or ("", ""))[:2]
        return needle in message.lower() or needle in code.lower()


_WITH_REASON = frozenset({BuildState.CREATED, BuildState.FAILED})


def _noted(name: str) -> Callable[[Packed], str]:
    number = TEXT_NAMES.index(name)
    return lambda job: str(job[TEXTS].split(SEPARATOR, number + 1)[number])
