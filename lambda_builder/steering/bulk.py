"""BulkCommands: all builds that a filter means, cancelled or retried."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.errors import Refused
from lambda_builder.selection import BuildFilter
from lambda_builder.steering.commands import BuildCommands
from lambda_builder.steering.listing import BuildList
from lambda_builder.steering.queries import Results

MOST = 1000
"""Builds that are steered at a time."""
_SECONDS = 10.0
"""After so long no other build is begun: whoever asked waits for an answer, and can ask again."""
_DELETE_SECONDS = 2.0
"""Longest wait for an old Job to be gone before a retry."""
_RETRYABLE = frozenset(state for state in BuildState if state.retryable)
_UNFINISHED = frozenset(state for state in BuildState if not state.final)


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """What became of the builds that were meant; those neither done nor refused are left."""

    matched: int
    """All that were meant and in a state in which it can be done."""
    done: Results
    refused: Sequence[tuple[BuildResult, Refused]]


class BulkCommands:
    """Steers many builds, one after the other, the oldest first; thread-safe."""

    def __init__(self, listing: BuildList, commands: BuildCommands) -> None:
        self._listing = listing
        self._commands = commands

    def cancel(self, wanted: BuildFilter, *, dry_run: bool) -> BulkOutcome:
        """Cancel those of the builds that have not ended; with ``dry_run`` only count them."""
        outcome = self._steer(wanted, _UNFINISHED, self._commands.cancel_one, dry_run=dry_run)
        if outcome.done:
            self._commands.keep(f"each of {len(outcome.done)} builds")
        return outcome

    def retry(self, wanted: BuildFilter, *, dry_run: bool) -> BulkOutcome:
        """Retry those of the builds that are dead or failed; with ``dry_run`` only count them."""
        retry = partial(self._commands.retry_one, wait_seconds=_DELETE_SECONDS)
        return self._steer(wanted, _RETRYABLE, retry, dry_run=dry_run)

    def _steer(
        self,
        wanted: BuildFilter,
        possible: frozenset[BuildState],
        steer: Callable[[BuildResult], object],
        *,
        dry_run: bool,
    ) -> BulkOutcome:
        states = possible & (wanted.states or possible)
        if not states:
            return BulkOutcome(0, [], [])
        found, matched = self._listing.matching(replace(wanted, states=states), MOST)
        done: list[BuildResult] = []
        refused: list[tuple[BuildResult, Refused]] = []
        deadline = time.monotonic() + _SECONDS
        for result in reversed(found):
            if dry_run or time.monotonic() > deadline:
                break
            try:
                steer(result)
                done.append(result)
            except Refused as refusal:
                refused.append((result, refusal))
        return BulkOutcome(matched, done, refused)
