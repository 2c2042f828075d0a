"""Questions to the journal, answered beside the writer."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from typing import Any

from lambda_builder.builds import BuildResult, CommandRequest
from lambda_builder.journal.changes import Change, unavailable
from lambda_builder.journal.rows import (
    RESULT_COLUMNS,
    Row,
    command_of,
    plain,
    request_of,
    result_of,
    tolerance,
)
from lambda_builder.journal.sqlite.database import Database
from lambda_builder.journal.sqlite.known import KnownEvents
from lambda_builder.journal.sqlite.schema import OPEN, SETTLED
from lambda_builder.journal.sqlite.sqlite_errors import describe, is_damage
from lambda_builder.journal.values import OpenBuild
from lambda_builder.journal.writer import Writer

_FOUND_MAX = 500
"""Most builds returned for one id."""

_HASHES_AT_ONCE = 10_000
_HASHES = (  # as bytes, since damage may have left any; their index alone is read
    "SELECT CAST(event_hash AS BLOB) FROM builds"
    " WHERE event_hash > CAST(? AS TEXT) AND typeof(event_hash) = 'text'"
    " ORDER BY event_hash LIMIT ?"
)
_BY_HASH = f"SELECT {RESULT_COLUMNS} FROM builds WHERE event_hash = ?"
_BY_ID = (
    f"SELECT {RESULT_COLUMNS} FROM builds WHERE job_name = ? OR correlation_id = ?"
    " ORDER BY seq DESC LIMIT ?"
)
_SIZES_BY_STATE = (
    f"SELECT seq, length(request) FROM builds WHERE {SETTLED} AND state IN (%s)"
    " ORDER BY settled_at DESC LIMIT ?"
)
_BY_SEQ = f"SELECT {RESULT_COLUMNS} FROM builds WHERE seq IN (%s) ORDER BY settled_at DESC"
_AUDIT = "SELECT seq, entry FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?"
_LAST = 2**63 - 1
_PAGE_ROWS = 500
_PAGE_BYTES = 8 * 1024 * 1024
_OPEN_AFTER = f"FROM builds WHERE {OPEN} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_SIZES_AFTER = f"SELECT seq, length(request) {_OPEN_AFTER}"
_BUILDS_AFTER = f"SELECT seq, request, attempts {_OPEN_AFTER}"
_COUNT_OPEN_AFTER = f"SELECT count(*) FROM builds WHERE {OPEN} AND seq > ? AND seq <= ?"
_OPEN_BY_HASH = f"SELECT seq, request, attempts FROM builds WHERE {OPEN} AND event_hash = ?"


class Lookups:
    """The half of the journal that reads; thread-safe.

    Every method raises ``Refused`` (``JOURNAL_UNAVAILABLE``).
    """

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._known = KnownEvents()
        """Of every event in the file, before it is written."""
        self._last_seq = 0
        """Of what an earlier process left."""
        self._taken_seq = 0
        """Of what was taken over of that."""

    def open_builds(
        self, *, after_seq: int, limit: int, up_to_seq: int | None = None
    ) -> list[OpenBuild]:
        """Return builds that an earlier process left open, in the order of acceptance.

        Those recorded since ``open`` have higher numbers and are not among them, unless
        ``up_to_seq`` says so. At most 8 MiB of them, or one; empty means there are no more.
        """
        last = self._last_seq if up_to_seq is None else up_to_seq
        builds: list[OpenBuild] = []
        while not builds:
            sizes = self._fetch(_SIZES_AFTER, (after_seq, last, limit))
            rows = self._fetch(_BUILDS_AFTER, (after_seq, last, _page(sizes)))
            if not rows:
                break
            after_seq = rows[-1][0]
            for seq, request, attempts in rows:
                with tolerance(seq=seq):
                    builds.append(OpenBuild(seq, request_of(request), attempts))
        return builds

    def left_open(self) -> int:
        """Return how many of the builds that an earlier process left are not taken over yet."""
        ((count,),) = self._fetch(_COUNT_OPEN_AFTER, (self._taken_seq, self._last_seq))
        return int(count)

    def take_over(self, limit: int) -> list[OpenBuild]:
        """Return the next of the builds that an earlier process left; for one thread."""
        builds = self.open_builds(after_seq=self._taken_seq, limit=limit)
        self._taken_seq = builds[-1].seq if builds else self._last_seq
        return builds

    def left_behind(self, limit: int) -> list[OpenBuild]:
        """Return open builds that an earlier process left, taken over or not."""
        return self.open_builds(after_seq=0, limit=limit)

    def take(self, event_hash: str, *, from_others: bool) -> OpenBuild | None:
        """Return an open build; None where there is none of that event."""
        for seq, request, attempts in self._fetch(_OPEN_BY_HASH, (plain(event_hash),)):
            with tolerance(seq=seq):
                return OpenBuild(seq, request_of(request), attempts)
        return None

    def find(self, event_hash: str) -> BuildResult | None:
        """Return the build of an event; an open one is ``queued``."""
        if not self.remembers(event_hash):
            return None
        return next(iter(_results(self._fetch(_BY_HASH, (plain(event_hash),)))), None)

    def remembers(self, event_hash: str) -> bool:
        """Whether the file may hold the event; quick, and reads nothing."""
        return self._known.may_hold(plain(event_hash).encode())

    def find_by_id(self, build_id: str) -> list[BuildResult]:
        """Return the builds with this Job name or correlation ID, newest first, at most 500."""
        name = plain(build_id)
        return _results(self._fetch(_BY_ID, (name, name, _FOUND_MAX)))

    def finished(self, *, states: Sequence[str], limit: int) -> list[BuildResult]:
        """Return builds with an outcome in one of ``states``, newest outcome first.

        Without their events, which may be more than memory holds: ``find`` returns one with its.
        No more than 8 MiB of them, or one, are in memory at a time.
        """
        query = _SIZES_BY_STATE % _marks(states)
        sizes = self._fetch(query, (*map(str, states), limit))
        results: list[BuildResult] = []
        while sizes:
            count = _page(sizes[:_PAGE_ROWS])
            page, sizes = [seq for seq, _ in sizes[:count]], sizes[count:]
            found = _results(self._fetch(_BY_SEQ % _marks(page), page))
            results += (result.but(request=result.request.without_event()) for result in found)
        return results

    def commands(self) -> list[CommandRequest]:
        """Return the commands that are kept, oldest first."""
        requests = []
        for seq, text in self._fetch("SELECT seq, request FROM commands ORDER BY seq"):
            with tolerance(seq=seq):
                requests.append(command_of(text))
        return requests

    def audit(self, *, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """Return entries of the audit with their numbers, the newest of those before ``before``."""
        rows = self._fetch(_AUDIT, (_LAST if before is None else before, limit))
        return [(seq, bytes(entry)) for seq, entry in rows]

    def _learn(self) -> None:
        """Know the events that are in the file."""
        last = b""
        while rows := self._fetch(_HASHES, (last, _HASHES_AT_ONCE)):
            self._known.add(event_hash for (event_hash,) in rows)
            ((last,),) = rows[-1:]

    def _expect(self, rows: Sequence[Row]) -> None:
        """Know the events of rows that are about to be written."""
        self._known.add(row[0].encode() for row in rows)

    def _counts(self) -> tuple[int, int]:
        """Return how many builds are open, and how many settled."""
        ((open_rows,),) = self._fetch(f"SELECT count(*) FROM builds WHERE {OPEN}")
        ((settled,),) = self._fetch(f"SELECT count(*) FROM builds WHERE {SETTLED}")
        return open_rows, settled

    def _fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query; when it meets damage, the file is checked, and rebuilt, afterwards."""
        try:
            return self._database.fetch(sql, parameters)
        except sqlite3.Error as error:
            if is_damage(error):
                self._database.suspect = True
                self._writer.queue(Change())  # wakes the one who checks
            raise unavailable(f"journal cannot be read: {describe(error) or error}") from error


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _page(sizes: Sequence[tuple[int, int]]) -> int:
    """Return how many of these rows make a page."""
    totals = itertools.accumulate(size for _, size in sizes)
    return max(1, sum(total <= _PAGE_BYTES for total in totals))


def _results(rows: Sequence[Sequence[Any]]) -> list[BuildResult]:
    results = []
    for row in rows:
        with tolerance():
            results.append(result_of(row))
    return results
