"""BuildList: every build that has a Job, that waits here, or that a shared journal knows."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import merge
from itertools import islice
from operator import itemgetter

from lambda_builder.builds import BuildError, BuildResult
from lambda_builder.errors import FieldProblem, RefusalCode, Refused
from lambda_builder.kube.packing import Packed, place_of_packed
from lambda_builder.kube.search import JobSearch
from lambda_builder.pipeline.packing import (
    Kept,
    category_of,
    place_of_kept,
    searched_of,
    state_of,
    unpack,
)
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.selection import BuildFilter, Fields, Place, search, texts_of
from lambda_builder.steering.elsewhere import Elsewhere

Results = list[BuildResult]
Make = Callable[[], BuildResult]


def _having(text: str, builds: list[Kept]) -> list[Kept]:
    return [kept for kept in builds if text in searched_of(kept)]


_OF_KEPT: Fields[Kept] = Fields(
    placed_at=lambda kept: place_of_kept(kept)[0],
    state=state_of,
    third_party_id=lambda kept: unpack(kept).request.third_party_id,
    parser_id=lambda kept: unpack(kept).request.parser_id,
    correlation_id=lambda kept: unpack(kept).request.correlation_id,
    category=category_of,
    having=_having,
    noting=_having,
)


@dataclass(frozen=True, slots=True)
class BuildPage:
    """Some of the builds that were meant, newest first."""

    items: Results
    positions: Mapping[str, int]
    """Places in the queue, by event hash, of those that wait there."""
    next_cursor: str | None
    """Where the next page begins; None where there is none."""


class BuildList:
    """Lists builds; thread-safe, asks no API, and only a journal that replicas share.

    What this replica knows of a build goes before its Job: only here is known what waits, what
    never got a Job, what was cancelled and in how many attempts a Job was made. Of builds of other
    replicas the journal knows that, where it is shared.
    """

    def __init__(
        self,
        results: ResultStore,
        search: Callable[[Mapping[str, BuildError]], JobSearch],
        reasons: Callable[[], Mapping[str, BuildError]],
        positions: Callable[[], Mapping[str, int]],
        elsewhere: Elsewhere,
    ) -> None:
        """``search`` searches the Jobs, given ``reasons``: why they do not run or failed, by uid;
        ``positions`` gives the places in the queue, by event hash.
        """
        self._results = results
        self._search = search
        self._reasons = reasons
        self._positions = positions
        self._elsewhere = elsewhere

    def page(self, wanted: BuildFilter, *, limit: int, cursor: str | None = None) -> BuildPage:
        """Return up to ``limit`` builds, newest first; raises ``Refused`` for a made-up cursor.

        A cursor is a place in the order of acceptance, so that builds which come and go do not
        shift the next page. It costs what is looked at until the page is full. While a shared
        journal cannot be read, what only it knows is missing.
        """
        before = None if cursor is None else _read(cursor)
        rows = [*islice(self._found(wanted, before, limit + 1, whole=False), limit + 1)]
        items = [make() for _, make in rows[:limit]]
        next_cursor = _cursor(rows[limit - 1][0]) if len(rows) > limit else None
        return BuildPage(items, self.positions_of(items), next_cursor)

    def matching(self, wanted: BuildFilter, most: int) -> tuple[Results, int]:
        """Return the newest ``most`` builds that are meant, and how many are in all.

        Raises ``Refused`` (``journal_unavailable``) where that cannot be known.
        """
        rows = self._found(wanted, None, most, whole=True)
        found = [make() for _, make in islice(rows, most)]
        return found, len(found) + sum(1 for _ in rows)

    def _found(
        self, wanted: BuildFilter, before: Place | None, size: int, *, whole: bool
    ) -> Iterator[tuple[Place, Make]]:
        """Yield the builds that are meant, the newest first, with what makes their results.

        All kinds are read a part at a time, of ``size`` at first; not all of one moment.
        """
        jobs, texts = self._search(self._reasons()), texts_of(wanted)
        read = self._results.before
        held = search(read, wanted, _OF_KEPT, before=before, size=size, having=texts)
        rows: Iterator[tuple[Place, bool, Make]] = merge(
            # Of one place a held build comes first, and its Job before what is recorded.
            ((place_of_kept(kept), True, partial(unpack, kept)) for kept in held),
            (
                (place_of_packed(job), False, _of_job(jobs, job))
                for job in jobs.find(wanted, before, size)
            ),
            self._recorded(wanted, before, size, whole=whole),
            key=itemgetter(0),
            reverse=True,
        )
        last = None
        for place, is_held, make in rows:
            # One that is forgotten right now is told of once, too.
            if is_held or not (place == last or self._results.knows(place)):
                yield place, make
            last = place

    def _recorded(
        self, wanted: BuildFilter, before: Place | None, size: int, *, whole: bool
    ) -> Iterator[tuple[Place, bool, Make]]:
        """Yield builds of other replicas; ends where they cannot be read, unless ``whole``."""
        try:
            for place, row in self._elsewhere.find(wanted, before, size):
                yield place, False, _itself(row)
        except Refused:
            if whole:
                raise

    def positions_of(self, results: Sequence[BuildResult]) -> Mapping[str, int]:
        """Return the places in the queue, from 1, of those that wait there, by event hash."""
        if not any(result.state.waits for result in results):
            return {}
        places = self._positions()
        hashes = [result.request.event_hash for result in results]
        return {event_hash: places[event_hash] for event_hash in hashes if event_hash in places}


def _of_job(jobs: JobSearch, job: Packed) -> Make:
    return lambda: jobs.record(job).result()


def _itself(result: BuildResult) -> Make:
    return lambda: result


def _cursor(place: Place) -> str:
    at, name, event_hash = place
    text = json.dumps([at, name, event_hash.hex()], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read(cursor: str) -> Place:
    try:
        at, name, event_hash = json.loads(base64.urlsafe_b64decode(cursor))
        return float(at), str(name), bytes.fromhex(event_hash)
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError):
        message = "take it from next_cursor, unchanged"
        raise Refused(
            RefusalCode.INVALID_PARAMETER,
            f"cursor: {message}",
            errors=[FieldProblem("cursor", message)],
        ) from None
