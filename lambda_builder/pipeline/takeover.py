"""TakeOver: queues what an earlier process or a lost replica left, and lets go what moved away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Full

import structlog

from lambda_builder.builds import BuildRequest, BuildResult
from lambda_builder.errors import AttemptFailed, BootError, Refused
from lambda_builder.journal import Journal, OpenBuild, OpenReport
from lambda_builder.pipeline.acceptance import entry_for
from lambda_builder.pipeline.awaited import Awaited
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from lambda_builder.threads import Background

_PAGE = 500
_RETRY_SECONDS = 1.0
_ROUND_SECONDS = 1.0
"""How often it is looked for changes of which nobody told."""
_AWAITED_SECONDS = 0.2
"""The same while somebody waits for a build of another replica."""
_ROOM_SECONDS = 1.0
_MORE_SECONDS = 0.1
"""Pause while there is more to take over than there was room for."""
_LEAST_SECONDS = 0.1
"""Least pause between two rounds."""
_FLUSH_SECONDS = 0.5
_RELIEVED = 64
"""Builds that an idle replica takes at a time."""


class TakeOver:
    """Takes over open builds in a thread, in their order, as the queue has room.

    Where no other replica can leave any, the thread ends with the last one that an earlier process
    left; it ends when the queue is closed, or with ``stop``, in any case. New entries are refused
    while builds wait to be taken over.
    """

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        ledger: Ledger,
        live: LiveBuilds,
        journal: Journal,
        awaited: Awaited,
        *,
        delete_job: Callable[[str, str], object] = lambda _name, _uid: None,
        may_work: Callable[[], bool] = lambda: True,
    ) -> None:
        """``delete_job`` deletes a Job by name and uid, and raises as the API does; ``may_work``
        says whether builds can be made now, so that it is worth to relieve others of some.
        """
        self._queue = build_queue
        self._ledger = ledger
        self._live = live
        self._journal = journal
        self._awaited = awaited
        self._delete_job = delete_job
        self._may_work = may_work
        self._thread = Background("take-over", self._run)
        self._expected = 0
        self._open_later: Callable[[], OpenReport] | None = None
        self._unread = False

    def start(self, open_journal: Callable[[], OpenReport]) -> None:
        """Open the journal and begin to queue what it holds; to be called once.

        While it cannot be opened yet that is tried again, in the background. Raises ``BootError``.
        """
        try:
            self._expect(open_journal().open_rows)
        except Refused as refused:
            structlog.get_logger().error("journal_not_open_yet", reason=refused.detail)
            self._open_later = open_journal
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the thread end; does not wait for it."""
        self._thread.ask_to_stop()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; close the queue first. Returns its name if it is alive after ``timeout``
        seconds. Harmless twice, or before ``start``."""
        return self._thread.stop(timeout)

    def left_behind(self, left: Sequence[Build]) -> list[BuildRequest]:
        """Return builds that nobody takes over and that are not among ``left``; a page full.

        To be called once the queue is drained.
        """
        known = {build.request.event_hash for build in left}
        self._journal.flush(_FLUSH_SECONDS)  # an outcome on its way would look like none
        try:
            rows = self._journal.left_behind(_PAGE)
        except Refused:
            return []
        return [row.request for row in rows if row.request.event_hash not in known]

    # -- the thread ----------------------------------------------------------------------------

    def _run(self, stopping: threading.Event) -> None:
        if self._open_later is not None and not self._opened(self._open_later, stopping):
            return
        while not stopping.is_set():
            try:
                self._round(stopping)
                self._unread = False
                if not self._rest(stopping):
                    return
            except QueueClosed:
                return
            except Exception as error:  # noqa: BLE001 - these builds were accepted: go on
                self._tell(error)
                stopping.wait(_RETRY_SECONDS)

    def _rest(self, stopping: threading.Event) -> bool:
        """Wait for the next round; False where there is none."""
        if not self._journal.shared:
            return False
        if self._expected:
            stopping.wait(_MORE_SECONDS)
        else:
            stopping.wait(_LEAST_SECONDS)  # however much others tell
            self._journal.wait_for_change(_AWAITED_SECONDS if self._awaited else _ROUND_SECONDS)
        return True

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, Refused):
            structlog.get_logger().exception("take_over_failed")
        elif not self._unread:
            structlog.get_logger().warning("take_over_put_off", reason=error.detail)
        self._unread = isinstance(error, Refused)

    def _opened(self, open_journal: Callable[[], OpenReport], stopping: threading.Event) -> bool:
        """Try until the journal is open; False when the service stops before."""
        told = ""
        while not stopping.wait(_RETRY_SECONDS):
            try:
                self._expect(open_journal().open_rows)
            except Refused:
                continue  # still full, or away
            except Exception as error:  # noqa: BLE001 - it may yet succeed
                unexpected = not isinstance(error, BootError)
                if str(error) != told:
                    told = str(error)
                    structlog.get_logger().error(
                        "journal_not_open_yet", reason=told, exc_info=unexpected
                    )
                continue
            return True
        return False

    def _round(self, stopping: threading.Event) -> None:
        for event_hash in self._journal.moved():
            self._let_go(event_hash)
        overtaken = self._journal.overtaken()
        for result in overtaken:  # told of once: nothing may come between
            self._ledger.out_of_date(result.request.event_hash)
        for result in overtaken:
            self._made_in_vain(result)
        self._take_over(stopping)
        self._queue_outside()
        if self._is_idle():
            self._relieve()
        self._awaited.look(self._journal.find)

    # -- builds come ---------------------------------------------------------------------------

    def _expect(self, count: int) -> None:
        """Hold room for ``count`` builds against new ones."""
        self._queue.expect(count - self._expected)
        self._expected = count

    def _take_over(self, stopping: threading.Event) -> None:
        taken = 0
        while not stopping.is_set():
            self._expect(self._journal.left_open())
            if not self._expected:
                break
            # Of a shared journal as much as there is room for: what moved must not wait for it.
            room = self._queue.await_room(0.0 if self._journal.shared else _ROOM_SECONDS)
            if not room and not self._journal.shared:
                continue
            rows = self._journal.take_over(min(_PAGE, room)) if room else []
            if not rows:
                if room:
                    self._expect(0)  # what nobody can read
                break
            taken += self._enter(rows)
            if self._journal.shared:
                break
        if taken:
            structlog.get_logger().info("builds_queued_again", builds=taken)

    def _enter(self, rows: Sequence[OpenBuild]) -> int:
        """Queue builds that are this replica's now; returns how many were."""
        entered = 0
        missing = len(rows) - self._expected
        if missing > 0:  # more than there were a moment ago
            self._expect(len(rows))
        for row in rows:
            self._expected -= 1
            build = self._ledger.taken(row)
            if build is None:
                self._queue.unexpect()
            else:
                entered += self._put(build)
        return entered

    def _put(self, build: Build) -> bool:
        """Queue an announced build unless it is, or has ended; where there is no room, later."""
        if not self._live.enter(build):
            self._queue.unexpect()
            return False
        try:
            self._queue.put_expected(entry_for(build), 0.0 if self._journal.shared else None)
        except Full:
            self._queue.unexpect()
            self._live.stay_outside(build)
            return False
        return True

    def _queue_outside(self) -> None:
        """Queue what became this replica's since somebody asked for it."""
        for build in self._live.outside():
            self._queue.expect(1)
            if not self._put(build):
                break

    def _is_idle(self) -> bool:
        counts = self._queue.snapshot()
        return not (counts.depth or counts.held) and self._may_work()

    def _relieve(self) -> None:
        rows = self._journal.relieve(min(_RELIEVED, self._queue.maxsize))
        if rows:
            self._expect(len(rows))
            self._enter(rows)

    # -- builds go -----------------------------------------------------------------------------

    def _let_go(self, event_hash: str) -> None:
        """Know nothing more of a build that goes on elsewhere.

        One that a worker has in hand is the worker's to let go: the journal grants it nothing, and
        takes nothing from it.
        """
        build = self._live.get(event_hash)
        if build is None:
            self._ledger.out_of_date(event_hash)
            return
        if self._journal.take(event_hash, from_others=False) is not None:
            return  # it came back, or nobody has taken it
        entry = self._queue.remove(event_hash)
        if entry is None and build.entered:
            return
        self._ledger.moved(build)
        self._awaited.add(build)
        if entry is not None:
            self._queue.leave(entry)

    def _made_in_vain(self, result: BuildResult) -> None:
        """Leave no Job of a build that was cancelled elsewhere, or has another Job."""
        if result.job_uid is None:
            return
        known = self._journal.find(result.request.event_hash)
        if known is None or known.state.waits or known.job_uid == result.job_uid:
            return
        name = result.request.job_name
        # Where that fails, whoever looks for Jobs that nobody wants finds it.
        with suppress(AttemptFailed):
            self._delete_job(name, result.job_uid)
            structlog.get_logger().warning("unwanted_job_deleted", job_name=name)
