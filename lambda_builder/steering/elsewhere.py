"""Elsewhere: builds of other replicas that only the journal knows, as they are listed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lambda_builder.builds import BuildResult, BuildState, digest_bytes
from lambda_builder.journal import Journal
from lambda_builder.kube.record import JobRecord, with_job
from lambda_builder.selection import OF_RESULTS, BuildFilter, Place, select

_MOST_ROWS = 1000
"""Most that are read in one go."""
_FRESH_SECONDS = 5.0
"""How far the watch may be behind whoever made a Job."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Reads the journal a part at a time; thread-safe.

    ``by_event`` returns an event's Job as the watch shows it, ``known`` the same with what was
    found out about it, and ``current`` a build as it is now, or None where its Job is gone.
    """

    journal: Journal
    by_event: Callable[[str], JobRecord | None]
    known: Callable[[JobRecord], JobRecord]
    current: Callable[[BuildResult], BuildResult | None]

    def find(
        self, wanted: BuildFilter, before: Place | None, size: int
    ) -> Iterator[tuple[Place, BuildResult]]:
        """Yield the builds that are meant, the newest first, with their places.

        The first ``size`` are read at once, then more at a time; not all of one moment. Those whose
        Jobs stand at other places are left out: they are listed there. Raises ``Refused``.
        """
        while True:
            rows = self.journal.elsewhere(wanted, before=before, limit=size)
            for row in rows:
                before = _place(row)
                shown = self._shown(row, before)
                if shown is not None and (shown is row or select([shown], wanted, OF_RESULTS)):
                    yield before, shown
            if len(rows) < size:
                return
            size = max(size, min(2 * size, _MOST_ROWS))

    def _shown(self, row: BuildResult, place: Place) -> BuildResult | None:
        record = self.by_event(row.request.event_hash)
        if record is None or record.name != row.request.job_name:
            is_fresh = (row.created_at or 0.0) > time.time() - _FRESH_SECONDS
            return row if is_fresh else self.current(row)
        if record.placed_at != place[0]:
            return None
        has_job = row.but(state=BuildState.CREATED) if row.state.waits else row
        return with_job(has_job, self.known(record), None)


def _place(row: BuildResult) -> Place:
    """Return where the journal has it: by its acceptance alone."""
    request = row.request
    return request.accepted_at, request.job_name, digest_bytes(request.event_hash)
