"""The thread that keeps the lease, and hears what the other replicas tell of."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable

import psycopg
import structlog

from lambda_builder.journal.news import News
from lambda_builder.journal.postgres.database_errors import describe
from lambda_builder.journal.postgres.lane import Health
from lambda_builder.journal.postgres.lease import Lease
from lambda_builder.journal.postgres.moves import CHANNEL, tell
from lambda_builder.journal.postgres.server import Connection, Hangs, Server
from lambda_builder.threads import Background

_BEATS = 5
"""Beats in the time of a lease."""
_LONGEST_PAUSE_SECONDS = 1.0
_RECONNECT_SECONDS = 0.25
_GRACE_SECONDS = 3.0
"""After the database was away the others get this long to say that they are alive."""


class Keeper:
    """Keeps one connection; ``changed``, ``steady`` and ``connections`` are for any thread.

    A beat is one statement, so that a slow database costs no lease.
    """

    def __init__(
        self,
        server: Server,
        lease: Lease,
        health: Health,
        *,
        seconds: float,
        on_time: Callable[[float], object],
    ) -> None:
        """``seconds`` is how long the lease lasts; ``on_time`` is told the database's clock."""
        self._server = server
        self._lease = lease
        self._health = health
        self.pause = min(seconds / _BEATS, _LONGEST_PAUSE_SECONDS)
        """Seconds from one beat to the next."""
        self._longest_gap = seconds / 2
        self._grace = min(seconds / 3, _GRACE_SECONDS)
        self._on_time = on_time
        self._connection: Connection | None = None
        self._renewed_at = self._steady_since = 0.0
        self._wake_in: socket.socket | None = None
        self._wake_out: socket.socket | None = None
        self._thread = Background("journal-lease", self._run, wake=self.wake)
        self.changed = News()
        """Tells of what other replicas did."""
        self.lost = 0
        """How often the lease was lost."""
        self.connections = 0
        """How often a connection was made: the database may have restarted in between."""

    @property
    def steady(self) -> bool:
        """Whether the others could have said that they are alive.

        Not shortly after the database could not be reached, or took so long that theirs may be late
        as well.
        """
        now = time.monotonic()
        return (
            now - self._renewed_at <= self._longest_gap and now - self._steady_since >= self._grace
        )

    def start(self, connection: Connection) -> None:
        """Keep the lease that was taken over ``connection``, which is the keeper's from now on.

        Raises ``psycopg.Error`` and ``OSError``: then nothing was started, and it may be tried
        again.
        """
        self._listen(connection)
        self._wake_in, self._wake_out = socket.socketpair()
        for each in (self._wake_in, self._wake_out):
            each.setblocking(False)
        self._connection = connection
        self.beat()
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look at once."""
        if self._wake_in is not None:
            with contextlib.suppress(OSError):
                self._wake_in.send(b"\0")

    def stop(self, timeout: float) -> bool:
        """End the thread and give the lease back, so that others take over at once."""
        ended = not self._thread.stop(timeout)
        if ended and self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._lease.give_back(self._connection)
                tell(self._connection, self._lease.id)
            self._drop()
        for each in (self._wake_in, self._wake_out):
            if each is not None:
                each.close()
        self.changed.nudge()
        return ended

    # -- the thread ----------------------------------------------------------------------------

    def _run(self, stopping: threading.Event) -> None:
        began = time.monotonic()
        while not stopping.is_set():
            pause = self.pause if self._connection else _RECONNECT_SECONDS
            # Where the connection is gone the beat will see that.
            with contextlib.suppress(psycopg.Error, OSError, ValueError):
                self._wait(began + pause)
            if not stopping.is_set():
                began = time.monotonic()
                self.beat()

    def beat(self) -> None:
        """Do one round, on a new connection where the last one was lost; raises nothing."""
        try:
            for last in (False, True):
                if self._connection is None:
                    self._adopt(self._server.connect())
                if self._survives(last):
                    break
        except (psycopg.Error, OSError) as error:
            self._drop()
            self._health.note("lease", describe(error))
        except Exception:  # noqa: BLE001 - logged; the lease must be kept
            structlog.get_logger().exception("journal_lease_panic")
            self._drop()
        else:
            self._health.note("lease", None)

    def _survives(self, last: bool) -> bool:
        """Do a round; False where the connection was lost, and another one may do."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - just made
        try:
            self._round(connection)
        except psycopg.Error as error:
            if last or not connection.closed or isinstance(error, Hangs):
                raise
            self._drop()
            return False
        return True

    def _round(self, connection: Connection) -> None:
        before = time.monotonic()
        told = self._lease.renew(connection)
        now = time.monotonic()
        if told is None:
            self.lost += 1
            self.changed.nudge()
        else:
            self._on_time(told + now - before)
        if now - self._renewed_at > self._longest_gap:
            self._steady_since = now
        self._renewed_at = now
        self._hear(connection)

    def _hear(self, connection: Connection) -> None:
        """Read what the others told of."""
        own = {str(lease) for lease in self._lease.ids}
        told = [each for each in connection.notifies(timeout=0) if each.payload not in own]
        if told:
            self.changed.nudge()

    def _wait(self, deadline: float) -> None:
        """Wait until it is time, somebody wakes the thread, or the others told of something."""
        with selectors.DefaultSelector() as selector:
            for each in (self._wake_out, self._connection):
                if each is not None:
                    selector.register(each, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                ready = [key.fileobj for key, _ in selector.select(left)]
                if self._wake_out is not None and self._wake_out in ready:
                    with contextlib.suppress(BlockingIOError):
                        self._wake_out.recv(1024)
                    return
                if ready and self._connection is not None:
                    self._hear(self._connection)

    # -- the connection ------------------------------------------------------------------------

    def _adopt(self, connection: Connection) -> None:
        self._connection = connection
        self._listen(connection)

    def _listen(self, connection: Connection) -> None:
        self._steady_since = time.monotonic()
        self.connections += 1
        connection.execute(f"SET synchronous_commit = off; LISTEN {CHANNEL}")
        # What was told meanwhile was not heard.
        self.changed.nudge()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
