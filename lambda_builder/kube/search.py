"""JobSearch: the Jobs in the order in which they are listed, without an object of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from lambda_builder.selection import (
    SEPARATOR,
    BuildFilter,
    Fields,
    Place,
    Read,
    search,
    texts_of,
)


class JobSearch:
    """Reads the Jobs a part at a time, for one thread; the parts are not of one moment."""

    def __init__(self, read: Read[Packed], reasons: Mapping[str, BuildError]) -> None:
        """``read`` is thread-safe; ``reasons``, by uid, are told instead of the Jobs' errors."""
        self.read = read
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

    def find(self, wanted: BuildFilter, before: Place | None, size: int) -> Iterator[Packed]:
        """Yield the Jobs that are ``wanted``, the newest first, from those before a place on.

        The first ``size`` are read at once, then more at a time.
        """
        texts = texts_of(wanted)
        if wanted.q and any(_says(wanted.q.lower(), reason) for reason in self._reasons.values()):
            texts.pop()  # the Jobs themselves do not say that
        return search(self.read, wanted, self._fields, before=before, size=size, having=texts)

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
            or (job[STATE] in _WITH_REASON and self._tells(needle, job))
        ]

    def _tells(self, needle: str, job: Packed) -> bool:
        reason = self._reasons.get(job[UID])
        if reason is not None:
            return _says(needle, reason)
        return bool(job[ERROR]) and _says(needle, BuildError(*job[ERROR]))


def text_of(jobs: Sequence[Packed]) -> str:
    """Return all that Jobs say by themselves, in lower case."""
    errors = {job[ERROR] for job in jobs if job[ERROR]}
    said = (text.lower() for code, message, _ in errors for text in (code, message))
    return SEPARATOR.join((*map(itemgetter(LOWER_TEXTS), jobs), *said))


def _says(needle: str, error: BuildError) -> bool:
    return needle in error.message.lower() or needle in error.code.lower()


_WITH_REASON = frozenset({BuildState.CREATED, BuildState.FAILED})


def _noted(name: str) -> Callable[[Packed], str]:
    number = TEXT_NAMES.index(name)
    return lambda job: str(job[TEXTS].split(SEPARATOR, number + 1)[number])
