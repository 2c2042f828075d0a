"""Journal: accepted builds on disk, written ahead of the answer. Knows builds and errors; never
Flask, never Kubernetes.

``store`` is the way in; ``writer`` says whose turn it is to write, ``batches`` what becomes of the
changes, ``statements`` their SQL, ``database`` the connections, ``known`` which events need no
query, ``rebuild`` what is done with a damaged file, ``outbox`` the messages that leave with an
outcome, and ``memory`` what stands in where no journal is wanted.
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
