"""Builds on their way into a journal, for whoever waits for that in a thread or does not."""

from __future__ import annotations

from collections.abc import Callable

from lambda_builder.builds import BuildResult
from lambda_builder.errors import Refused
from lambda_builder.journal.changes import Change, Notice
from lambda_builder.journal.writer import STUCK_SECONDS, Writer


class Recorded:
    """What was recorded at once."""

    is_over = True
    seconds = 0.0

    def wait(self) -> None:
        """Return."""

    def begin(self, then: Callable[[], object]) -> None:
        """Call ``then``."""
        then()

    def give_up(self) -> None:
        """Do nothing."""

    def known(self) -> dict[str, BuildResult]:
        """Return nothing: all of it was new."""
        return {}


class Recording:
    """One change that records builds; for one caller, who waits or is told.

    ``on_refused`` is called with the change where it was refused, before the caller is told.
    """

    is_over = False
    seconds = STUCK_SECONDS

    def __init__(
        self, writer: Writer, change: Change, on_refused: Callable[[Change], object] | None = None
    ) -> None:
        self._writer = writer
        self._change = change
        self._on_refused = on_refused
        self._error: Exception | None = None
        self._then: Callable[[], object] = lambda: None

    def wait(self) -> None:
        """Return once it is written, or refused; whoever waits may write for others as well."""
        try:
            self._writer.write(self._change)
        except Refused as refused:
            self._note(refused)

    def begin(self, then: Callable[[], object]) -> None:
        """Have it written; ``then`` is called once it is, or is refused."""
        self._then = then
        self._change.ticket = Notice(self._end)
        try:
            self._writer.queue(self._change)
        except Refused as refused:
            self._end(refused)

    def give_up(self) -> None:
        """Have it refused unless it is being written already."""
        self._writer.withdraw(self._change)

    def known(self) -> dict[str, BuildResult]:
        """Return what was recorded before, by event hash; raises ``Refused``."""
        if self._error is not None:
            raise self._error
        return self._change.told

    def _end(self, error: Exception | None) -> None:
        if error is not None:
            self._note(error)
        self._then()

    def _note(self, error: Exception) -> None:
        self._error = error
        if self._on_refused is not None:
            self._on_refused(self._change)
