"""What becomes of the other replicas: their queues, and what those leave that are gone.

Beside the thread that keeps the lease: however long this takes, and whether or not it succeeds, the
lease holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from lambda_builder.errors import Refused
from lambda_builder.journal.interface import Others
from lambda_builder.journal.postgres.keeper import Keeper
from lambda_builder.journal.postgres.lease import Lease
from lambda_builder.journal.postgres.moves import tell
from lambda_builder.journal.postgres.outbox import inherit
from lambda_builder.journal.postgres.reading import Reading
from lambda_builder.journal.postgres.server import Connection

_OTHERS = (
    "SELECT replicas.id, replicas.capacity, builds.third_party_id, count(builds.owner)"
    " FROM replicas LEFT JOIN builds ON builds.owner = replicas.id AND builds.state = 'queued'"
    " WHERE replicas.id <> %s GROUP BY 1, 2, 3"
)


class Neighbours:
    """Looks at the others; used by one thread, but for ``others``."""

    def __init__(
        self, lease: Lease, reading: Reading, keeper: Keeper, on_inherited: Callable[[], object]
    ) -> None:
        """``on_inherited`` is called when messages were taken over."""
        self._lease = lease
        self._reading = reading
        self._keeper = keeper
        self._on_inherited = on_inherited
        self._seen: tuple[int, int, set[int]] | None = None
        """The keeper's connections, the own lease and the others', as all messages had an owner.

        After a restart of the database what was inherited shortly before may have none again.
        """
        self.others = Others()
        """What the others' queues held last."""

    def round(self) -> None:
        """End leases that have lapsed, count what waits, inherit messages; raises nothing."""
        try:
            self._reading.run(self._end_lapsed)
            self._reading.run(self._look)
        except Refused:
            pass  # as everybody sees; the next round may go better

    def _end_lapsed(self, connection: Connection) -> None:
        if self._keeper.steady and self._lease.end_lapsed(connection):
            tell(connection, self._lease.id)
            self._keeper.changed.nudge()

    def _look(self, connection: Connection) -> None:
        own, connections = self._lease.id, self._keeper.connections
        capacities: dict[int, int] = {}
        waiting: Counter[str] = Counter()
        for lease, capacity, tenant, count in connection.execute(_OTHERS, (own,)):
            capacities[lease] = capacity
            if tenant is not None:
                waiting[tenant] += count
        self.others = Others(len(capacities), sum(capacities.values()), dict(waiting))
        before = self._seen
        if before is None or before[:2] != (connections, own) or before[2] - {*capacities}:
            while inherit(connection, own):
                self._on_inherited()
        self._seen = connections, own, {*capacities}
