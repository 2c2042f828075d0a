"""Replay: queues again what an earlier process accepted and left open in the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import structlog

from lambda_builder.builds import BuildRequest
from lambda_builder.errors import BootError, Refused
from lambda_builder.journal import Journal, OpenBuild, OpenReport
from lambda_builder.pipeline.acceptance import entry_for
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from lambda_builder.threads import Background

_PAGE = 500
_RETRY_SECONDS = 1.0
_FLUSH_SECONDS = 0.5


class Replay:
    """Reads the journal's open builds in a thread, oldest first, as the queue has room.

    It ends with its last row, when the queue is closed, or with ``stop``.
    """

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        ledger: Ledger,
        live: LiveBuilds,
        journal: Journal,
    ) -> None:
        self._queue = build_queue
        self._ledger = ledger
        self._live = live
        self._journal = journal
        self._thread = Background("replay", self._run)
        self._last_row = self._expected = 0
        self._open_later: Callable[[], OpenReport] | None = None

    def start(self, open_journal: Callable[[], OpenReport]) -> None:
        """Open the journal and queue what it holds, if anything; to be called once.

        While its volume is full that is tried again, in the background. Raises ``BootError``.
        """
        try:
            self._take_over(open_journal())
        except Refused as refused:
            structlog.get_logger().error("journal_not_open_yet", reason=refused.detail)
            self._open_later = open_journal
        if self._expected or self._open_later is not None:
            self._thread.start()

    def _take_over(self, report: OpenReport) -> None:
        self._last_row, self._expected = report.last_seq, report.open_rows
        self._queue.expect(report.open_rows)

    def ask_to_stop(self) -> None:
        """Let the thread end; does not wait for it."""
        self._thread.ask_to_stop()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; close the queue first. Returns its name if it is alive after ``timeout``
        seconds. Harmless twice, or before ``start``."""
        return self._thread.stop(timeout)

    def not_replayed(self, left: Sequence[Build]) -> list[BuildRequest]:
        """Return builds that an earlier process left and that are not among ``left``; a page full.

        To be called once the queue is drained.
        """
        known = {build.request.event_hash for build in left}
        self._journal.flush(_FLUSH_SECONDS)  # an outcome on its way would look like none
        try:
            rows = self._journal.open_builds(after_seq=0, up_to_seq=self._last_row, limit=_PAGE)
        except Refused:
            return []
        return [row.request for row in rows if row.request.event_hash not in known]

    def _run(self, stopping: threading.Event) -> None:
        log = structlog.get_logger()
        if self._open_later is not None and not self._opened(self._open_later, stopping):
            return
        log.info("replay_started", builds=self._expected)
        expected, replayed = self._expected, 0
        for row in self._rows(stopping):
            build = self._ledger.adopt(row.request, row.attempts)
            expected -= 1
            if build is None or not self._live.enter(build):
                self._queue.unexpect()
                continue
            try:
                self._queue.put_expected(entry_for(build))
            except QueueClosed:
                log.info("replay_cut_short", builds=replayed)
                return
            replayed += 1
        self._queue.unexpect(expected)  # rows that nobody can read hold no room for ever
        log.info("replay_finished", builds=replayed)

    def _opened(self, open_journal: Callable[[], OpenReport], stopping: threading.Event) -> bool:
        """Try until the journal is open; False when the service stops before."""
        told = ""
        while not stopping.wait(_RETRY_SECONDS):
            try:
                self._take_over(open_journal())
            except Refused:
                continue  # the volume is still full
            except BootError as error:
                if str(error) != told:
                    told = str(error)
                    structlog.get_logger().error("journal_not_open_yet", reason=told)
                continue
            return True
        return False

    def _rows(self, stopping: threading.Event) -> Iterator[OpenBuild]:
        """Read the rows that an earlier process left open, however often a read fails."""
        after = 0
        while not stopping.is_set():
            try:
                rows = self._journal.open_builds(
                    after_seq=after, up_to_seq=self._last_row, limit=_PAGE
                )
            except Exception:  # noqa: BLE001 - these builds were accepted: they must be read
                structlog.get_logger().exception("replay_read_failed", after=after)
                stopping.wait(_RETRY_SECONDS)
                continue
            if not rows:
                return
            yield from rows
            after = rows[-1].seq
