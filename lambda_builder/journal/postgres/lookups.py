"""Questions to the journal, answered beside the lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lambda_builder.builds import BuildResult, CommandRequest, digest_bytes
from lambda_builder.journal.postgres.build_rows import RESULT_COLUMNS, found, listed
from lambda_builder.journal.postgres.lease import Lease
from lambda_builder.journal.postgres.reading import Reading
from lambda_builder.journal.postgres.server import Connection
from lambda_builder.journal.rows import command_of, plain, tolerance
from lambda_builder.journal.values import REJECTIONS_KEPT
from lambda_builder.selection import OF_RESULTS, BuildFilter, Place, search

_FOUND_MAX = 500
"""Most builds returned for one id."""
_PAGE_ROWS = 500

_BY_HASH = f"SELECT {RESULT_COLUMNS}, event FROM builds WHERE event_hash = %s"
_BY_ID = (
    f"SELECT {RESULT_COLUMNS}, event FROM builds"
    " WHERE job_name = %s AND NOT skipped OR correlation_id = %s ORDER BY seq DESC LIMIT %s"
)
_FINISHED = (
    f"SELECT {RESULT_COLUMNS} FROM builds WHERE state <> 'queued' AND owner = %s"
    " AND state = ANY(%s) ORDER BY settled_at DESC LIMIT %s"
)
_AUDIT = "SELECT seq, entry FROM audit WHERE seq < %s ORDER BY seq DESC LIMIT %s"
_LAST = 2**63 - 1
_REJECTIONS = "SELECT entry FROM rejections ORDER BY seq DESC LIMIT %s"
_COMMANDS = (
    "WITH taken AS (UPDATE commands SET owner = %s, grip = %s WHERE"
    " NOT EXISTS (SELECT 1 FROM replicas WHERE replicas.id = commands.owner)"
    " OR owner = %s AND grip = ANY(%s) RETURNING seq, request)"
    " SELECT seq, request FROM taken ORDER BY seq"
)
_COUNTS = (
    "SELECT (SELECT count(*) FROM builds WHERE state = 'queued' AND owner = %s),"
    " (SELECT count(*) FROM replicas)"
)


class Lookups:
    """The part of the journal that reads; thread-safe.

    Every method raises ``Refused`` (``JOURNAL_UNAVAILABLE``).
    """

    def __init__(self, lease: Lease, reading: Reading) -> None:
        self._lease = lease
        self._reading = reading

    def find(self, event_hash: str) -> BuildResult | None:
        """Return the build of an event; an open one is ``queued``."""
        rows = self._reading.fetch(_BY_HASH, (plain(event_hash),))
        return next(iter(_read(found, rows)), None)

    def remembers(self, event_hash: str) -> bool:
        """Tell that nothing need be asked: ``record`` tells what is known."""
        return False

    def find_by_id(self, build_id: str) -> list[BuildResult]:
        """Return the builds with this Job name or correlation ID, newest first, at most 500."""
        name = plain(build_id)
        return _read(found, self._reading.fetch(_BY_ID, (name, name, _FOUND_MAX)))

    def finished(self, *, states: Sequence[str], limit: int) -> list[BuildResult]:
        """Return own builds with an outcome in one of ``states``, newest outcome first."""
        arguments = (self._lease.id, [str(state) for state in states], limit)
        return _read(listed, self._reading.fetch(_FINISHED, arguments))

    def commands(self) -> list[CommandRequest]:
        """Return the commands of replicas that are gone, oldest first; each once."""

        def take(connection: Connection) -> list[tuple[Any, ...]]:
            lease, grip = self._lease.id, self._lease.grip()
            try:
                arguments = (lease, grip, lease, self._lease.doubtful)
                return connection.execute(_COMMANDS, arguments).fetchall()
            except Exception:
                self._lease.doubt(grip)
                raise

        requests = []
        for seq, text in self._reading.run(take):
            with tolerance(seq=seq):
                requests.append(command_of(text))
        return requests

    def audit(self, *, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """Return entries of the audit with their numbers, the newest of those before ``before``."""
        rows = self._reading.fetch(_AUDIT, (_LAST if before is None else before, limit))
        return [(seq, bytes(entry)) for seq, entry in rows]

    def rejections(self) -> list[bytes]:
        """Return the refused events that are kept, newest first."""
        rows = self._reading.fetch(_REJECTIONS, (REJECTIONS_KEPT,))
        return [bytes(entry) for (entry,) in rows]

    def elsewhere(
        self, wanted: BuildFilter, *, before: Place | None, limit: int
    ) -> list[BuildResult]:
        """Return builds that other replicas recorded, newest first by their place."""
        conditions, values = _conditions(wanted)
        # The filter's patterns of tenants are not the database's to read: the rest is looked at
        # here, page by page.
        size = limit if not wanted.tenants else max(limit, _PAGE_ROWS)
        results: list[BuildResult] = []

        def read(
            before: Place | None, most: int, _: Sequence[str]
        ) -> tuple[list[BuildResult], Place | None]:
            page, last = self._page([*conditions], [*values], before, most)
            return page, last

        for result in search(read, wanted, OF_RESULTS, before=before, size=size, having=()):
            results.append(result)
            if len(results) == limit:
                break
        return results

    def counts(self) -> tuple[int, int]:
        """Return how many builds are open here, and how many replicas live."""
        ((open_rows, replicas),) = self._reading.fetch(_COUNTS, (self._lease.id,))
        return open_rows, replicas

    def _page(
        self, conditions: list[str], values: list[Any], before: Place | None, most: int
    ) -> tuple[list[BuildResult], Place | None]:
        """Return the next builds, and before which place those after them are."""
        conditions.append("owner <> %s")
        values.append(self._lease.id)
        if before is not None:
            accepted_at, job_name, digest = before
            conditions.append("(accepted_at, job_name, event_hash) < (%s, %s, %s)")
            values += [accepted_at, plain(job_name), digest.hex()]
        rows = self._reading.fetch(
            f"SELECT {RESULT_COLUMNS} FROM builds WHERE {' AND '.join(conditions)}"
            " ORDER BY accepted_at DESC, job_name DESC, event_hash DESC LIMIT %s",
            (*values, most),
        )
        results = _read(listed, rows)
        more = len(rows) == most and results
        return results, _place(results[-1]) if more else None


def _place(result: BuildResult) -> Place:
    """Return where the table has it: by its acceptance alone."""
    request = result.request
    return request.accepted_at, request.job_name, digest_bytes(request.event_hash)


def _conditions(wanted: BuildFilter) -> tuple[list[str], list[Any]]:
    """Return what of a filter the database can see to."""
    conditions: list[str] = []
    values: list[Any] = []
    for name in ("third_party_id", "parser_id", "correlation_id", "category"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(f"{name} = %s")
            values.append(plain(value))
    if wanted.states:
        conditions.append("state = ANY(%s)")
        values.append([state.value for state in wanted.states])
    if wanted.q:
        conditions.append("strpos(searched, %s) > 0")
        values.append(plain(wanted.q.lower()))
    if wanted.since is not None:
        conditions.append("accepted_at >= %s")
        values.append(wanted.since)
    if wanted.until is not None:
        conditions.append("accepted_at < %s")
        values.append(wanted.until)
    return conditions, values


def _read(
    reader: Callable[[Sequence[Any]], BuildResult], rows: Sequence[Sequence[Any]]
) -> list[BuildResult]:
    results = []
    for row in rows:
        with tolerance():
            results.append(reader(row))
    return results
