"""Journal: accepted builds, written ahead of the answer. Knows builds and errors; never Flask,
never Kubernetes.

``interface`` is what everybody else knows; ``sqlite`` is a file of one process, ``postgres`` a
database that replicas share, ``memory`` what stands in where no journal is wanted. What the first
two have in common: ``changes`` as values, ``writer`` says whose turn it is to write, ``batches``
what becomes of the changes, ``rows`` how builds and messages are stored.
"""

from lambda_builder.journal.interface import Claim, JobOf, Journal, Others
from lambda_builder.journal.memory import NoJournal
from lambda_builder.journal.memory_outbox import MemoryOutbox
from lambda_builder.journal.sqlite.store import SqliteJournal
from lambda_builder.journal.values import Destination, OpenBuild, OpenReport, Outbox, OutboxMessage

__all__ = [
    "Claim",
    "Destination",
    "JobOf",
    "Journal",
    "MemoryOutbox",
    "NoJournal",
    "OpenBuild",
    "OpenReport",
    "Others",
    "Outbox",
    "OutboxMessage",
    "SqliteJournal",
]
