"""Journal: accepted builds on disk, for one process at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog

from lambda_builder.builds import BuildRequest, BuildResult, BuildState, CommandRequest
from lambda_builder.errors import BootError, Refused
from lambda_builder.journal.alone import Alone
from lambda_builder.journal.changes import DISK_FULL, Change, Ticket, unavailable
from lambda_builder.journal.due_clock import DueClock
from lambda_builder.journal.interface import Claim
from lambda_builder.journal.outbox import JournalOutbox
from lambda_builder.journal.recordings import Recording
from lambda_builder.journal.rows import command_row, plain, request_row, result_row
from lambda_builder.journal.sqlite.committer import Committer
from lambda_builder.journal.sqlite.database import Database
from lambda_builder.journal.sqlite.housekeeping import Housekeeping
from lambda_builder.journal.sqlite.lock import JournalLock
from lambda_builder.journal.sqlite.lookups import Lookups
from lambda_builder.journal.sqlite.outbox import FileMessages
from lambda_builder.journal.sqlite.room import Room
from lambda_builder.journal.sqlite.sqlite_errors import describe
from lambda_builder.journal.sqlite.statements import Statements
from lambda_builder.journal.values import AUDIT_KEPT, OpenReport, OutboxMessage
from lambda_builder.journal.writer import Writer

_HOLDER_PATIENCE_SECONDS = 3.0
"""A restart right after a kill may meet a process that is still dying."""
_AUDIT_SECONDS = 1.0
"""How long whoever steered is held up where the disk does not take what it did."""
GATHER_SECONDS = 0.02
"""How long what nobody waits for gathers: a commit costs more than what is in a change."""
_LEAST_FREE_BYTES = 128 * 1024
"""Less than SQLite needs beside the file to open it."""


class SqliteJournal(Lookups, Alone):
    """What was accepted, on disk before it is answered; thread-safe, for one process.

    ``open`` comes first. Settled builds are kept for ``keep_seconds``, at most ``keep_max``.
    Methods that read or wait raise ``Refused`` (``JOURNAL_UNAVAILABLE``) while the disk is full
    or broken; the journal works again by itself as soon as the disk does.
    """

    durable = True
    """What is recorded outlasts the process."""

    def __init__(
        self,
        path: Path,
        *,
        keep_seconds: float,
        keep_max: int,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock = clock
        self._lock = JournalLock(path)
        database = Database(path)
        room = Room(path.parent)
        self._housekeeping = Housekeeping(
            keep_seconds, keep_max, log_bytes=room.reserve // 4, clock=clock
        )
        self._due_clock = DueClock(clock, timer)
        statements = Statements(clock=self._due_clock)
        self._committer = Committer(database, statements, self._housekeeping, room)
        writer = Writer(
            self._committer,
            on_over=lambda changes: self.outbox.over(changes),
            gather_seconds=GATHER_SECONDS,
        )
        Lookups.__init__(self, database, writer)
        Alone.__init__(self)
        self.outbox = JournalOutbox(
            FileMessages(self._fetch), writer.queue, writer.write, clock=self._due_clock
        )

    # -- life ----------------------------------------------------------------------------------

    def open(self) -> OpenReport:
        """Lock the file, rebuild it where it is damaged, bring it up to date; once.

        Raises ``BootError`` where another process holds it, a newer version wrote it, or it
        cannot be used; the message says what to do. Raises ``Refused`` (``JOURNAL_UNAVAILABLE``)
        while the volume is full: then it can be opened once there is room.
        """
        with self._boot_errors(), contextlib.ExitStack() as undo:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            undo.callback(self._lock.release)
            self._lock.acquire(_HOLDER_PATIENCE_SECONDS)
            undo.callback(self._database.close)
            self._database.open()
            report = self._report()
            self._learn()
            undo.pop_all()
        self._last_seq = report.last_seq
        self._writer.start()
        return report

    def flush(self, timeout: float) -> bool:
        """Wait until all that was handed in is in the file; False when that takes too long."""
        try:
            return self._writer.flush(timeout)
        except Refused:
            return self._writer.backlog == 0  # closed

    def close(self, timeout: float) -> bool:
        """Write what is left and give the file back; False when something could not be written.

        Harmless twice, or before ``open``. ``timeout`` is in seconds.
        """
        written = self._writer.close(timeout)
        if self._writer.running:
            return False
        self._database.close()
        self._lock.release()
        return written

    @property
    def available(self) -> bool:
        """Whether the last thing to be written was written."""
        return self._committer.failure is None

    def stats(self) -> dict[str, int]:
        """Return counts: rows by kind, bytes on disk, rows and batches written, fsyncs.

        Rows that cannot be counted now are absent. Raises nothing.
        """
        numbers = {
            "bytes": self._database.size,
            "backlog": self._writer.backlog,
            "rows_written": self._committer.rows,
            "commits": self._committer.commits,
            "fsyncs": self._committer.fsyncs,
            "trimmed": self._housekeeping.trimmed,
            "outbox_dropped": self._committer.outbox.dropped,
            "moved_aside": self._database.moved_aside,
        }
        with contextlib.suppress(Refused):
            numbers["open"], numbers["settled"] = self._counts()
            numbers["outbox"] = self.outbox.pending()
        return numbers

    # -- writing -------------------------------------------------------------------------------

    def record(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> dict[str, BuildResult]:
        """Record builds, all or none; returns nothing when they are on the disk.

        One whose event has an outcome here starts afresh; one that is open stays as it is.
        ``turned_away`` are outcomes of events that came with them and are not built.
        """
        recording = self.recording(requests, turned_away)
        recording.wait()
        return recording.known()

    def recording(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> Recording:
        """Return what records builds as ``record`` does, once it is begun."""
        now = self._clock()
        change = Change(
            records=[request_row(request) for request in requests],
            turned_away=[result_row(result, now) for result in turned_away],
            durable=bool(requests),
        )
        self._expect((*change.records, *change.turned_away))
        return Recording(self._writer, change)

    def attempt(self, event_hash: str, attempts: int) -> Claim:
        """Note, before it is made, that a build's attempt ``attempts`` begins.

        Returns when the next process will see it, should this one be killed.
        """
        self._writer.write(Change(attempts=((plain(event_hash), attempts),)))
        return Claim.GRANTED

    def take_back_attempt(self, event_hash: str, attempts: int, *, has_job: bool) -> None:
        """Note that ``attempts`` count, since one ended without outcome; does not wait.

        After ``close`` it is not noted.
        """
        with contextlib.suppress(Refused):
            self._writer.queue(Change(attempts=((plain(event_hash), attempts),)))

    def finish(self, result: BuildResult, messages: Sequence[OutboxMessage] = ()) -> None:
        """Store a build's outcome, or a later one, together with ``messages``; does not wait.

        A cancel is on the disk once it is flushed, other outcomes in the file. Kept in memory while
        the disk refuses it. After ``close`` it is only logged: the build is tried again. Raises
        ``ValueError`` for a state that still waits.
        """
        if result.state.waits:
            raise ValueError(f"{result.state} is no outcome")
        row = result_row(result, self._clock())
        self._expect((row,))
        cancelled = result.state is BuildState.CANCELLED
        change = Change(finishes=(row,), messages=self.outbox.rows_of(messages), durable=cancelled)
        try:
            self._writer.queue(change)
        except Refused:
            structlog.get_logger().warning(
                "journal_closed_before_outcome",
                job_name=result.request.job_name,
                state=result.state.value,
            )

    def forget(self, event_hash: str) -> None:
        """Delete a build that was recorded and then refused; does not wait.

        After ``close`` it stays, and is built.
        """
        with contextlib.suppress(Refused):
            self._writer.queue(Change(forgets=((plain(event_hash),),)))

    def reopen(self, request: BuildRequest) -> bool:
        """Record that a build with an outcome goes again, as if new; True when on the disk."""
        row = request_row(request)
        self._expect((row,))
        self._writer.write(Change(reopens=(row,), durable=True))
        return True

    def keep_commands(self, requests: Sequence[CommandRequest]) -> None:
        """Keep commands, all or none, until ``drop_command``; returns when they are on the disk."""
        rows = [command_row(request) for request in requests]
        self._writer.write(Change(commands=rows, durable=True))

    def drop_command(self, event_hash: str) -> None:
        """Forget a command; does not wait. After ``close`` it stays, and is carried out again."""
        with contextlib.suppress(Refused):
            self._writer.queue(Change(commands_over=((plain(event_hash),),)))

    def note(self, entries: Sequence[bytes], *, refused: bool) -> None:
        """Add entries to the audit; returns when they are on the disk, or after a second.

        While the disk refuses them, what was done is kept in memory, up to a bound; what was
        ``refused`` is not, since whoever asks again and again would push out all else, nor is
        anything after ``close``.
        """
        if not self.available and (refused or self._writer.backlog >= AUDIT_KEPT[False]):
            return
        rows = [(int(refused), entry) for entry in entries]
        ticket = Ticket()
        with contextlib.suppress(Refused):
            self._writer.queue(Change(audit=rows, durable=True, ticket=ticket, patient=True))
            ticket.wait(_AUDIT_SECONDS)

    # -- opening -------------------------------------------------------------------------------

    def _report(self) -> OpenReport:
        ((latest_due,),) = self._fetch("SELECT ifnull(max(due_at), 0) FROM outbox")
        self._due_clock.set_to(latest_due)
        ((last_seq,),) = self._fetch("SELECT ifnull(max(seq), 0) FROM builds")
        open_rows, _ = self._counts()
        structlog.get_logger().info("journal_opened", journal=str(self._path), open=open_rows)
        return OpenReport(open_rows, last_seq)

    @contextlib.contextmanager
    def _boot_errors(self) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            raise BootError(f"journal {self._path}: {error.detail}") from error
        except sqlite3.Error as error:
            reason = describe(error) or str(error)
            if reason == DISK_FULL or _is_full(self._path.parent):  # or SQLite's "I/O error"
                raise self._no_room() from error
            raise BootError(f"journal {self._path} cannot be opened: {reason}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._no_room() from error
            raise BootError(
                f"journal {self._path} cannot be opened: {error.strerror}{_remedy(error)}"
            ) from error

    def _no_room(self) -> Refused:
        self._committer.failure = DISK_FULL
        return unavailable(f"journal {self._path} cannot be opened: {DISK_FULL}; free some space")


def _is_full(directory: Path) -> bool:
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize < _LEAST_FREE_BYTES


def _remedy(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"; give user {os.getuid()} write access to the directory"
            " (in Kubernetes: securityContext.fsGroup)"
        )
    if error.errno == errno.EROFS:
        return "; mount the volume writable"
    if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
        return "; JOURNAL_PATH must name a file in a directory"
    return ""
