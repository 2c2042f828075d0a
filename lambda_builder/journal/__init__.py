"""Journal: accepted builds on disk, written ahead of the answer. Knows builds and errors; never
Flask, never Kubernetes.

``store`` is the way in; ``writer`` has the one thread that writes, ``statements`` its SQL,
``database`` the connections, ``rebuild`` what is done with a damaged file, ``outbox`` the
messages that leave with an outcome, and ``memory`` what stands in where no journal is wanted.
"""

from lambda_builder.journal.memory import MemoryOutbox, NoJournal
from lambda_builder.journal.store import Journal
from lambda_builder.journal.values import Destination, OpenBuild, OpenReport, Outbox, OutboxMessage

__all__ = [
    "Destination",
    "Journal",
    "MemoryOutbox",
    "NoJournal",
    "OpenBuild",
    "OpenReport",
    "Outbox",
    "OutboxMessage",
]
