"""What stands in for the journal where none is wanted: nothing is recorded, nothing survives."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Sequence

from lambda_builder.builds import BuildRequest, BuildResult, CommandRequest
from lambda_builder.journal.alone import Alone
from lambda_builder.journal.interface import Claim
from lambda_builder.journal.memory_outbox import MemoryOutbox
from lambda_builder.journal.recordings import Recorded
from lambda_builder.journal.values import (
    AUDIT_KEPT,
    OpenBuild,
    OpenReport,
    OutboxMessage,
)


class NoJournal(Alone):
    """``Journal`` for memory-only operation: recording costs nothing and promises nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = MemoryOutbox()
        self._lock = threading.Lock()
        self._noted = {kind: deque[tuple[int, bytes]](maxlen=n) for kind, n in AUDIT_KEPT.items()}
        self._last_note = 0

    durable = False
    """Nothing outlasts the process."""
    available = True
    """Nothing can keep it from not being written."""

    def open(self) -> OpenReport:
        """Find nothing."""
        return OpenReport()

    def record(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> dict[str, BuildResult]:
        """Do nothing."""
        return {}

    def recording(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> Recorded:
        """Do nothing."""
        return Recorded()

    def attempt(self, event_hash: str, attempts: int) -> Claim:
        """Grant it."""
        return Claim.GRANTED

    def take_back_attempt(self, event_hash: str, attempts: int, *, has_job: bool) -> None:
        """Do nothing."""

    def finish(self, result: BuildResult, messages: Sequence[OutboxMessage] = ()) -> None:
        """Put ``messages`` into the outbox."""
        self.outbox.put(messages)

    def forget(self, event_hash: str) -> None:
        """Do nothing."""

    def reopen(self, request: BuildRequest) -> bool:
        """Let it go again."""
        return True

    def keep_commands(self, requests: Sequence[CommandRequest]) -> None:
        """Do nothing."""

    def drop_command(self, event_hash: str) -> None:
        """Do nothing."""

    def commands(self) -> list[CommandRequest]:
        """Find nothing."""
        return []

    def note(self, entries: Sequence[bytes], *, refused: bool) -> None:
        """Keep entries of the audit in memory."""
        with self._lock:
            for entry in entries:
                self._last_note += 1
                self._noted[refused].append((self._last_note, entry))

    def audit(self, *, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """Return what is kept of the audit."""
        with self._lock:
            noted = heapq.merge(*map(reversed, self._noted.values()), reverse=True)
            older = (each for each in noted if before is None or each[0] < before)
            return [*itertools.islice(older, limit)]

    def left_open(self) -> int:
        """Find nothing."""
        return 0

    def take_over(self, limit: int) -> list[OpenBuild]:
        """Find nothing."""
        return []

    def left_behind(self, limit: int) -> list[OpenBuild]:
        """Find nothing."""
        return []

    def take(self, event_hash: str, *, from_others: bool) -> OpenBuild | None:
        """Find nothing."""
        return None

    def find(self, event_hash: str) -> BuildResult | None:
        """Find nothing."""
        return None

    def remembers(self, event_hash: str) -> bool:
        """Tell that there is nothing to be found."""
        return False

    def find_by_id(self, build_id: str) -> list[BuildResult]:
        """Find nothing."""
        return []

    def finished(self, *, states: Sequence[str], limit: int) -> list[BuildResult]:
        """Find nothing."""
        return []

    def flush(self, timeout: float) -> bool:
        """Have nothing to write."""
        return True

    def close(self, timeout: float) -> bool:
        """Have nothing to close."""
        return True

    def stats(self) -> dict[str, int]:
        """Return the outbox's counts only."""
        return {"outbox": self.outbox.pending(), "outbox_dropped": self.outbox.dropped}
