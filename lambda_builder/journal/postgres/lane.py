"""One connection that writes batches of changes, and what becomes of it when that fails."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

import psycopg
import structlog

from lambda_builder.journal.changes import Change, Verdict
from lambda_builder.journal.postgres.database_errors import Meaning, describe, meaning
from lambda_builder.journal.postgres.lease import Lease, LeaseGone
from lambda_builder.journal.postgres.server import Backend, Connection, Hangs, Server
from lambda_builder.threads import Backoff

Write = Callable[[Connection, Sequence[Change]], None]

_TRIES = 5
"""Of one batch, where it met a deadlock or its connection was lost."""
_RECONNECT_SECONDS = (0.05, 0.5)
"""Between tries to connect, at first and at most: whoever writes meanwhile is refused at once."""
_FOREVER = 3600.0
_STILL_HANGS_SECONDS = 60.0
"""How long what hangs keeps a lane from trying again, once it can be asked for."""

# Not the session that asks, which a pooler may have had end what hung, and lent again.
_IS_ACTIVE = (
    "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND extract(epoch FROM backend_start) = %s"
    " AND state = 'active' AND pid <> pg_backend_pid()"
)


class StillHangs(Exception):
    """The server has not ended yet what it was asked over an earlier connection."""


class Health:
    """What is wrong in one place or another; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[str, str] = {}

    @property
    def failure(self) -> str | None:
        """Return one reason; None while all is well."""
        with self._lock:
            return next(iter(self._wrong.values()), None)

    def failure_of(self, place: str) -> str | None:
        """Return what is wrong at ``place``."""
        with self._lock:
            return self._wrong.get(place)

    def note(self, place: str, reason: str | None) -> None:
        """Note how it is at ``place``."""
        with self._lock:
            before = bool(self._wrong)
            if reason is None:
                self._wrong.pop(place, None)
            else:
                self._wrong[place] = reason
            after = bool(self._wrong)
        if after and not before:
            structlog.get_logger().error("journal_unavailable", reason=reason)
        elif before and not after:
            structlog.get_logger().info("journal_available")


class Lane:
    """A ``Committer``; used by one thread at a time, but for ``failure`` and the counts."""

    def __init__(
        self,
        name: str,
        server: Server,
        lease: Lease,
        health: Health,
        write: Write,
        *,
        synchronous: bool = True,
    ) -> None:
        """``write`` writes a batch; it is told again what may have been written.

        ``synchronous``: each commit is on the disk, also where no change asks for it.
        """
        self._name = name
        self._server = server
        self._lease = lease
        self._health = health
        self._write = write
        self._synchronous = synchronous
        self.on_lease_gone: Callable[[], object] = lambda: None
        """Called where others have ended the lease."""
        self._connection: Connection | None = None
        self._connect_at = 0.0
        self._in_vain = 0
        """Tries to connect, one after the other."""
        self._backoff = Backoff(*_RECONNECT_SECONDS)
        self._hung: Backend | None = None
        """Who did not answer."""
        self._hung_until = 0.0
        self.failure: str | None = None
        """Why nothing can be recorded now; None while all is well."""
        self.rows = self.commits = self.fsyncs = self.connections = 0
        self.seconds = 0.0
        """Spent in commits that succeeded."""

    def commit(self, changes: Sequence[Change]) -> Verdict:
        """Write ``changes``, all or none where none is marked ``perhaps``; raises nothing."""
        if not any(change.rows for change in changes):
            if self.failure is not None:
                self.probe()
            return Verdict.WRITTEN if self.failure is None else Verdict.UNAVAILABLE
        for left in reversed(range(_TRIES)):
            started = time.monotonic()
            error = self._try(lambda connection: self._write(connection, changes), last=not left)
            if error is None:
                self._count(changes, time.monotonic() - started)
                return Verdict.WRITTEN
            if error in (Meaning.LOST, Meaning.HANGS):
                for change in changes:
                    change.perhaps = True
            if error not in (Meaning.LOST, Meaning.RETRY):
                break
        return Verdict.REJECTED if error is Meaning.REJECTED else Verdict.UNAVAILABLE

    def probe(self) -> None:
        """See whether it can be written again; raises nothing."""
        self._try(self._lease.touch)

    def pause(self, *, idle: bool) -> float:
        """Return how many seconds may pass until ``keep_house`` has something to do."""
        return _FOREVER

    def keep_house(self, *, idle: bool) -> None:
        """Do nothing: what is due beside the changes is done by one replica for all."""

    def finish(self) -> None:
        """Close the connection."""
        self._drop()

    # -- one try -------------------------------------------------------------------------------

    def _try(self, action: Callable[[Connection], object], *, last: bool = True) -> Meaning | None:
        """Do ``action``; returns what went wrong. What the next try may mend is no failure yet."""
        connection: Connection | None = None
        try:
            connection = self._connected()
            if connection is None:
                return Meaning.UNAVAILABLE
            self._check_hung(connection)
            action(connection)
        except StillHangs as error:
            self._set_failure(str(error))
            return Meaning.UNAVAILABLE
        except LeaseGone as error:
            self._set_failure(str(error))
            self.on_lease_gone()
            return Meaning.UNAVAILABLE
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must not suffer
            return self._blame(error, connection, last=last)
        self._set_failure(None)
        return None

    def _blame(self, error: Exception, connection: Connection | None, *, last: bool) -> Meaning:
        what = meaning(error, connection)
        if what is Meaning.RETRY and not last:
            return what
        if what is Meaning.REJECTED:
            structlog.get_logger().error("journal_change_rejected", error=describe(error))
            return what
        if isinstance(error, Hangs) and error.backend is not None:
            self._hung = error.backend
            self._hung_until = time.monotonic() + _STILL_HANGS_SECONDS
        if what in (Meaning.LOST, Meaning.HANGS):
            structlog.get_logger().warning(
                "journal_connection_lost", lane=self._name, reason=describe(error)
            )
        if what is not Meaning.RETRY:
            self._drop()
        self._set_failure(describe(error))
        return what

    def _check_hung(self, connection: Connection) -> None:
        """Raise ``StillHangs`` where the next try would only leave one more session that hangs."""
        if self._hung is None:
            return
        found = connection.execute(_IS_ACTIVE, self._hung).fetchone()
        if found is not None and time.monotonic() < self._hung_until:
            raise StillHangs("the database does not answer")
        self._hung = None

    def _connected(self) -> Connection | None:
        """Return the connection, a new one where needed; None where it is too early for that."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        now = time.monotonic()
        if now < self._connect_at:
            return None
        try:
            connection = self._server.connect()
        except BaseException:
            self._connect_at = time.monotonic() + self._backoff.pause(self._in_vain)
            self._in_vain += 1
            raise
        self._connection = connection
        self._in_vain = 0
        self.connections += 1
        if not self._synchronous:
            connection.execute("SET synchronous_commit = off")
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _set_failure(self, reason: str | None) -> None:
        if reason != self.failure:
            self.failure = reason
            self._health.note(self._name, reason)

    def _count(self, changes: Sequence[Change], seconds: float) -> None:
        self.rows += sum(change.rows for change in changes)
        self.commits += 1
        self.fsyncs += self._synchronous or any(change.durable for change in changes)
        self.seconds += seconds
