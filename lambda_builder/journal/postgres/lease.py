"""What a replica is to the others: a row that is gone once nobody hears of the replica.

Its id owns builds and messages. An id is never given twice: a replica that was thought dead and
comes back gets another one, and owns nothing of what it had.
"""

from __future__ import annotations

import itertools
import threading

import structlog

from lambda_builder.journal.postgres.server import Connection

LIVE = "EXISTS (SELECT 1 FROM replicas WHERE replicas.id = builds.owner)"
"""Whether a build's owner is alive."""
ABANDONED = 0
"""The grip of an open build that its owner gave up."""

_TAKE = (
    "INSERT INTO replicas (name, capacity, alive_until)"
    " VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s)) RETURNING id"
)
_RENEW = (
    "UPDATE replicas SET alive_until = clock_timestamp() + make_interval(secs => %s)"
    " WHERE id = %s RETURNING extract(epoch FROM clock_timestamp())::double precision"
)
_CHECK = "SELECT 1 FROM replicas WHERE id = %s"
_TOUCH = "UPDATE replicas SET capacity = capacity WHERE id = %s RETURNING id"
_END_LAPSED = (
    "DELETE FROM replicas WHERE id IN (SELECT id FROM replicas"
    " WHERE alive_until < clock_timestamp() AND id <> %s FOR UPDATE SKIP LOCKED)"
    " RETURNING id, name"
)


class LeaseGone(Exception):
    """Others ended this replica's lease: what is written must be written with the next one."""


class Lease:
    """The id of now, those before, and what this replica may have done without knowing.

    Thread-safe; only one thread takes, renews and gives back.
    """

    def __init__(self, *, name: str, capacity: int, seconds: float) -> None:
        self._name = name
        self._capacity = capacity
        self._seconds = seconds
        self.id = 0
        """Of now; 0 before the first."""
        self.lost: list[int] = []
        """Ids of before, which others may have taken builds from."""
        self._lock = threading.Lock()
        self._grips = itertools.count(ABANDONED + 1)
        self._doubtful = [ABANDONED]

    @property
    def ids(self) -> list[int]:
        """All ids that this replica has had."""
        return [*self.lost, self.id]

    # -- grips ---------------------------------------------------------------------------------

    def grip(self) -> int:
        """Return a number for one act of taking builds, which their rows get."""
        return next(self._grips)

    def doubt(self, grip: int) -> None:
        """Note that nobody knows whether an act was committed: what it took is taken again."""
        with self._lock:
            self._doubtful.append(grip)

    @property
    def doubtful(self) -> list[int]:
        """Return the acts of which nobody knows: own builds of theirs are worked off by nobody."""
        with self._lock:
            return list(self._doubtful)

    # -- the row -------------------------------------------------------------------------------

    def take(self, connection: Connection) -> None:
        """Get an id; raises ``psycopg.Error``."""
        row = connection.execute(_TAKE, (self._name, self._capacity, self._seconds)).fetchone()
        assert row is not None  # noqa: S101 - an INSERT returns its row
        with self._lock:
            if self.id:
                self.lost = [*self.lost, self.id]
            self.id = int(row[0])
            self._doubtful = [ABANDONED]

    def renew(self, connection: Connection) -> float | None:
        """Say that this replica is alive; returns the database's time, in seconds.

        None where it has got a new id, since others ended the lease. Raises ``psycopg.Error``.
        """
        row = connection.execute(_RENEW, (self._seconds, self.id)).fetchone()
        if row is not None:
            return float(row[0])
        before = self.id
        self.take(connection)
        structlog.get_logger().error("lease_lost", lease=before, new_lease=self.id)
        return None

    def check(self, connection: Connection) -> None:
        """Raise ``LeaseGone`` where others ended the lease; raises ``psycopg.Error``."""
        if connection.execute(_CHECK, (self.id,)).fetchone() is None:
            raise LeaseGone("the lease was lost")

    def touch(self, connection: Connection) -> None:
        """See whether the database takes writes, and the lease still holds.

        Raises ``psycopg.Error`` and ``LeaseGone``.
        """
        with connection.transaction():
            # Whatever commits wait for, the row that the lease hangs on must not be locked as long.
            connection.execute("SET LOCAL synchronous_commit = off")
            found = connection.execute(_TOUCH, (self.id,)).fetchone()
        if found is None:
            raise LeaseGone("the lease was lost")

    def end_lapsed(self, connection: Connection) -> list[int]:
        """End the leases of replicas that were not heard of for too long; returns their ids.

        Raises ``psycopg.Error``.
        """
        ended = connection.execute(_END_LAPSED, (self.id,)).fetchall()
        for lease, name in ended:
            structlog.get_logger().warning("replica_lapsed", replica=name, lease=lease)
        return [lease for lease, _ in ended]

    def give_back(self, connection: Connection) -> None:
        """End the own lease: what is open is everyone's at once; raises ``psycopg.Error``."""
        connection.execute("DELETE FROM replicas WHERE id = %s", (self.id,))
