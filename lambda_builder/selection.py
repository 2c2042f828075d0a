"""Which builds are meant, and in which order they are listed. Pure.

One description of a filter serves whatever rows builds are kept as: ``Fields`` says how to read
them, so that a hundred thousand are looked through without making an object of each.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar

from lambda_builder.builds import BuildResult, BuildState, digest_bytes
from lambda_builder.tenants import Tenants

SEPARATOR = "\x1f"
"""Between texts that are searched together; control characters are in no id and no search."""

_MOST_ROWS = 1000
"""Most that are looked at in one go: few enough that nobody waits for a lock meanwhile."""

Row = TypeVar("Row")
Place = tuple[float, str, bytes]
"""What builds are listed by: when they were accepted, the Job's name, the event's digest."""

_texts = attrgetter(
    "job_name",
    "correlation_id",
    "third_party_id",
    "parser_id",
    "event_id",
    "event_source",
    "traceparent",
)


_request = attrgetter("request")
_made = attrgetter("job_uid", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFilter:
    """What all of the builds that are meant have in common; what is not given does not matter."""

    states: frozenset[BuildState] = frozenset()
    third_party_id: str | None = None
    parser_id: str | None = None
    correlation_id: str | None = None
    category: str | None = None
    """Of the failure."""
    q: str | None = None
    """A part of any id, of the image or of the error, in upper or lower case."""
    since: float | None = None
    """Accepted then or later, in seconds since the epoch."""
    until: float | None = None
    """Accepted before."""
    tenants: tuple[Tenants, ...] = ()
    """Of third parties that are in each of these: what whoever asks may see."""

    @property
    def is_empty(self) -> bool:
        """Whether it means every build that may be seen."""
        return not any(getattr(self, each.name) for each in fields(self) if each.name != "tenants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields(Generic[Row]):
    """How to read a build that is kept as a ``Row``."""

    placed_at: Callable[[Row], float]
    state: Callable[[Row], str]
    third_party_id: Callable[[Row], str]
    parser_id: Callable[[Row], str]
    correlation_id: Callable[[Row], str]
    category: Callable[[Row], str | None]
    having: Callable[[str, list[Row]], list[Row]]
    """Return the rows that have a text in lower case in anything that ``q`` is looked for in."""
    noting: Callable[[str, list[Row]], list[Row]] | None = None
    """Return those that have it in their ids, where these are kept as one text in lower case."""


Read = Callable[[Place | None, int, Sequence[str]], tuple[list[Row], Place | None]]
"""Gives rows next before a place, or the newest, the newest first, and where the next are to be
asked for; at most so many, and none where there is none that has each of some texts."""


def search(
    read: Read[Row],
    wanted: BuildFilter,
    of: Fields[Row],
    *,
    before: Place | None,
    size: int,
    having: Sequence[str],
) -> Iterator[Row]:
    """Yield the rows that ``wanted`` means, the newest first, from those before a place on.

    The first ``size`` are read at once, then more at a time; those all ``having`` texts.
    """
    if wanted.until is not None:
        until = (wanted.until, "", b"")
        before = until if before is None else min(before, until)
    while True:
        rows, before = read(before, size, having)
        yield from select(rows, wanted, of)
        if before is None or before[0] < (wanted.since or 0.0):
            return
        size = max(size, min(2 * size, _MOST_ROWS))


def texts_of(wanted: BuildFilter) -> list[str]:
    """Return what the texts of each build that is meant have in them, in lower case."""
    texts = [*_ids_of(wanted)]
    if wanted.q:
        texts.append(wanted.q.lower())
    return texts


def _ids_of(wanted: BuildFilter) -> Iterator[str]:
    for value in filter(None, (wanted.correlation_id, wanted.third_party_id, wanted.parser_id)):
        yield f"{SEPARATOR}{value.lower()}{SEPARATOR}"


def select(rows: Iterable[Row], wanted: BuildFilter, of: Fields[Row]) -> list[Row]:
    """Return the rows that ``wanted`` means, in their order."""
    found = list(rows)
    if of.noting is not None:  # quickly seen, and leaves few to be looked at closely
        for text in _ids_of(wanted):
            found = of.noting(text, found)
    for read, fits in _tests(wanted, of):
        found = [row for row in found if fits(read(row))]
    if wanted.q:
        found = of.having(wanted.q.lower(), found)
    return found


def _tests(
    wanted: BuildFilter, of: Fields[Row]
) -> Iterable[tuple[Callable[[Row], Any], Callable[[Any], bool]]]:
    """Return what has to be looked at and be true of it; the cheapest and the rarest first."""
    if wanted.since is not None:
        yield of.placed_at, partial(operator.le, wanted.since)
    if wanted.until is not None:
        yield of.placed_at, partial(operator.gt, wanted.until)
    if wanted.states:
        yield of.state, wanted.states.__contains__
    for name in ("category", "correlation_id", "third_party_id", "parser_id"):
        value = getattr(wanted, name)
        if value is not None:
            yield getattr(of, name), partial(operator.eq, value)
    for tenants in wanted.tenants:
        yield of.third_party_id, tenants.__contains__


def placed_at(result: BuildResult) -> float:
    """Return when the build was accepted; where nobody noted that, when its Job was made."""
    return result.request.accepted_at or result.created_at or 0.0


def place_of(result: BuildResult) -> Place:
    """Return by what a build is listed; no two have the same."""
    request = result.request
    return placed_at(result), request.job_name, digest_bytes(request.event_hash)


def searched(results: Sequence[BuildResult]) -> str:
    """Return all that ``q`` is looked for in, of all the results together, in lower case."""
    errors = {result.error for result in results if result.error}
    texts = chain(
        chain.from_iterable(map(_texts, map(_request, results))),
        chain.from_iterable(map(_made, results)),
        chain.from_iterable((error.code, error.message) for error in errors),
    )
    return SEPARATOR.join(("", *filter(None, texts), "")).lower()


def having(text: str, results: Sequence[BuildResult]) -> list[BuildResult]:
    """Return the results that have a text, in lower case, in anything that is searched."""
    return [result for result in results if text in searched((result,))]


OF_RESULTS: Fields[BuildResult] = Fields(
    placed_at=placed_at,
    state=attrgetter("state"),
    third_party_id=attrgetter("request.third_party_id"),
    parser_id=attrgetter("request.parser_id"),
    correlation_id=attrgetter("request.correlation_id"),
    category=lambda result: result.error.category if result.error else None,
    having=having,
)
