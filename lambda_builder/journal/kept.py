"""What is copied from one journal to another, and the interfaces of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lambda_builder.builds import BuildResult
from lambda_builder.journal.rows import Row

COLUMNS = {
    "outbox": "id, destination, key, headers, body, attempts, due_at",
    "commands": "event_hash, request",
    "audit": "refused, entry",
}
"""What is copied beside builds, by table."""


@dataclass(frozen=True, slots=True)
class KeptBuild:
    """A build with what is stored of it; one that is open is ``queued``."""

    result: BuildResult
    settled_at: float
    """Epoch seconds; 0 where it is open."""


class Source(Protocol):
    """A journal that is read."""

    def builds(self) -> Iterator[KeptBuild]:
        """Return all builds in their order; what cannot be read is logged and left out."""

    def rows(self, table: str) -> Iterator[Row]:
        """Return the ``COLUMNS`` of a table in their order."""


class Target(Protocol):
    """A journal that is written, which was empty."""

    def add_builds(self, builds: list[KeptBuild]) -> None:
        """Add builds behind those that are there."""

    def add_rows(self, table: str, rows: list[Row]) -> None:
        """Add ``COLUMNS`` of a table behind those that are there."""
