"""Journal: accepted builds in a PostgreSQL database that replicas share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import structlog

from lambda_builder.builds import BuildRequest, BuildResult, BuildState, CommandRequest
from lambda_builder.errors import BootError, Refused
from lambda_builder.journal.changes import Change, Ticket, unavailable
from lambda_builder.journal.due_clock import DueClock
from lambda_builder.journal.interface import Claim, Others
from lambda_builder.journal.outbox import JournalOutbox
from lambda_builder.journal.postgres.build_rows import build_row, result_of_row, result_row
from lambda_builder.journal.postgres.caretaker import ROUND_SECONDS, Caretaker
from lambda_builder.journal.postgres.claims import Claims
from lambda_builder.journal.postgres.database_errors import describe
from lambda_builder.journal.postgres.keeper import Keeper
from lambda_builder.journal.postgres.lane import Health, Lane
from lambda_builder.journal.postgres.lease import Lease
from lambda_builder.journal.postgres.lookups import Lookups
from lambda_builder.journal.postgres.moves import Moves
from lambda_builder.journal.postgres.neighbours import Neighbours
from lambda_builder.journal.postgres.outbox import SharedMessages
from lambda_builder.journal.postgres.outcomes import Outcomes
from lambda_builder.journal.postgres.reading import Reading
from lambda_builder.journal.postgres.recording import Records
from lambda_builder.journal.postgres.schema import migrate
from lambda_builder.journal.postgres.server import Server
from lambda_builder.journal.postgres.sessions import check_server
from lambda_builder.journal.recordings import Recording
from lambda_builder.journal.rows import command_row, plain, tolerance
from lambda_builder.journal.values import AUDIT_KEPT, OpenBuild, OpenReport, OutboxMessage
from lambda_builder.journal.writer import Writer
from lambda_builder.threads import repeating, stop_all

_AUDIT_SECONDS = 1.0
"""How long whoever steered is held up where the database does not take what it did."""
_NO_HELP = ("authentication failed", "does not exist", "no pg_hba.conf entry")
"""In errors of a connection that the next one meets again."""


class PostgresJournal(Lookups, Moves):
    """What was accepted, in a database that other replicas share; thread-safe.

    ``open`` comes first. A replica that was not heard of for ``lease_seconds`` has its builds
    taken over. Settled builds are kept for ``keep_seconds``, at most ``keep_max``. Methods that
    read or wait raise ``Refused`` (``JOURNAL_UNAVAILABLE``) while the database is away; the journal
    works again by itself as soon as the database does.
    """

    durable = True
    """What is recorded outlasts the process."""
    shared = True
    """Other replicas use the database, too."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        lease_seconds: float,
        capacity: int,
        max_active: int,
        keep_seconds: float,
        keep_max: int,
        password_file: Path | None = None,
    ) -> None:
        """``name`` is this replica's, ``capacity`` its queue's; ``max_active`` 0 for no limit.

        Raises ``BootError`` for a URL that is none.
        """
        self._server = Server(url, name=name, password_file=password_file)
        self._health = Health()
        lease = Lease(name=name, capacity=capacity, seconds=lease_seconds)
        reading = Reading(self._server, away=lambda: self._health.failure_of("lease"))
        Lookups.__init__(self, lease, reading)
        Moves.__init__(self, lease, reading)
        self._due_clock = DueClock(lambda: 0.0)
        self._keeper = Keeper(
            self._server,
            lease,
            self._health,
            seconds=lease_seconds,
            on_time=self._due_clock.not_before,
        )
        self._neighbours = Neighbours(
            lease, reading, self._keeper, on_inherited=lambda: self.outbox.nudge()
        )
        self._looking = repeating("journal-neighbours", self._keeper.pause, self._neighbours.round)
        self._caretaker = Caretaker(reading, keep_seconds=keep_seconds, keep_max=keep_max)
        self._trimming = repeating("journal-caretaker", ROUND_SECONDS, self._caretaker.round)
        self._outcomes = Outcomes(lease, Claims(lease, max_active))
        self._make_lanes()
        self._opened = self._closed = False
        self._seen = 0

    def _make_lanes(self) -> None:
        lease, outcomes = self._lease, self._outcomes
        self._lanes = [
            Lane("record", self._server, lease, self._health, Records(lease).write),
            Lane("outcome", self._server, lease, self._health, outcomes.write, synchronous=False),
        ]
        for lane in self._lanes:
            lane.on_lease_gone = self._keeper.wake
        self._recorder = Writer(self._lanes[0], on_over=lambda changes: None)
        self._writer = Writer(self._lanes[1], on_over=lambda changes: self.outbox.over(changes))
        self.outbox = JournalOutbox(
            SharedMessages(lease, self._reading),
            self._writer.queue,
            self._writer.write,
            clock=self._due_clock,
        )
        """Messages of this replica, written together with what they tell of."""

    # -- life ----------------------------------------------------------------------------------

    def open(self) -> OpenReport:
        """Bring the tables up to date and take a lease; once.

        Raises ``BootError`` where the database is not one for this version; the message says what
        to do. Raises ``Refused`` (``JOURNAL_UNAVAILABLE``) while it is away: then it may be tried
        again.
        """
        with self._boot_errors(), contextlib.ExitStack() as undo:
            connection = self._server.connect()
            undo.callback(connection.close)
            check_server(connection, self._server)
            migrate(connection, self._server)
            self._lease.take(connection)
            undo.callback(self._lease.give_back, connection)
            self._keeper.start(connection)
            undo.pop_all()
        # From here on nothing fails: a part that was started cannot be started again.
        self._reading.open()
        self._neighbours.round()
        self._recorder.start()
        self._writer.start()
        self._trimming.start()
        self._looking.start()
        self._opened = True
        left = 0
        with contextlib.suppress(Refused):  # as it is taken over nobody needs the number
            left = self.left_open()
        structlog.get_logger().info("journal_opened", journal=str(self._server), open=left)
        return OpenReport(left)

    def flush(self, timeout: float) -> bool:
        """Wait until all that was handed in is in the database; False when that takes too long."""
        deadline = time.monotonic() + timeout
        for writer in (self._recorder, self._writer):
            try:
                if not writer.flush(deadline - time.monotonic()):
                    return False
            except Refused:
                if writer.backlog:
                    return False
        return True

    def close(self, timeout: float) -> bool:
        """Write what is left and give the lease back; False when something could not be written.

        Harmless twice, or before ``open``. ``timeout`` is in seconds.
        """
        deadline = time.monotonic() + timeout
        written = [
            writer.close(max(0.0, deadline - time.monotonic()))
            for writer in (self._recorder, self._writer)
        ]
        stop_all((self._trimming, self._looking), max(0.1, deadline - time.monotonic()))
        if self._recorder.running or self._writer.running:
            return False
        if not self._closed:
            self._closed = self._keeper.stop(max(1.0, deadline - time.monotonic()))
            self._reading.close()
        return all(written)

    @property
    def available(self) -> bool:
        """Whether the last thing to be written was written."""
        return self._health.failure is None

    def stats(self) -> dict[str, int]:
        """Return counts: rows by kind, rows and batches written, replicas; raises nothing.

        Rows that cannot be counted now are absent.
        """
        numbers = {
            "backlog": self._recorder.backlog + self._writer.backlog,
            "rows_written": sum(lane.rows for lane in self._lanes),
            "commits": sum(lane.commits for lane in self._lanes),
            "fsyncs": sum(lane.fsyncs for lane in self._lanes),
            "commit_milliseconds": int(1000 * sum(lane.seconds for lane in self._lanes)),
            "connections_made": sum(lane.connections for lane in self._lanes),
            "readers_waiting": self._reading.waiting,
            "trimmed": self._caretaker.trimmed,
            "outbox_dropped": self._caretaker.dropped,
            "leases_lost": self._keeper.lost,
            "taken_over": self.taken_over,
            "relieved": self.relieved,
        }
        if self._opened and not self._closed:
            with contextlib.suppress(Refused):
                numbers["open"], numbers["replicas"] = self.counts()
                numbers["outbox"] = self.outbox.pending()
        return numbers

    # -- writing -------------------------------------------------------------------------------

    def record(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> dict[str, BuildResult]:
        """Record builds that are new, all or none; returns when they are on the disk.

        Returns what is known of those that are not, by event hash; they stay as they are.
        ``turned_away`` are outcomes of events that came with them and are not built.
        """
        recording = self.recording(requests, turned_away)
        recording.wait()
        return recording.known()

    def recording(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> Recording:
        """Return what records builds as ``record`` does, once it is begun."""
        change = Change(
            records=[build_row(request) for request in requests],
            turned_away=[result_row(result) for result in turned_away],
            durable=bool(requests),
            grip=self._lease.grip(),
        )
        return Recording(self._recorder, change, self._doubt)

    def attempt(self, event_hash: str, attempts: int) -> Claim:
        """Claim the build for its attempt ``attempts``, and note it, before a Job is made."""
        key = plain(event_hash)
        change = Change(attempts=((key, attempts),))
        self._writer.write(change)
        claim: Claim = change.told[key]
        return claim

    def take_back_attempt(self, event_hash: str, attempts: int, *, has_job: bool) -> None:
        """Note that an attempt ended without outcome, and that ``attempts`` count; does not wait.

        After ``close`` it is not noted.
        """
        with contextlib.suppress(Refused):
            self._writer.queue(Change(taken_back=((plain(event_hash), attempts, has_job),)))

    def finish(self, result: BuildResult, messages: Sequence[OutboxMessage] = ()) -> None:
        """Store a build's outcome, or a later one, together with ``messages``; does not wait.

        Kept in memory while the database is away. Where the build is another's by now nothing is
        stored. After ``close`` it is only logged: another replica tries the build again. Raises
        ``ValueError`` for a state that still waits.
        """
        if result.state.waits:
            raise ValueError(f"{result.state} is no outcome")
        change = Change(
            finishes=(result_row(result),),
            messages=self.outbox.rows_of(messages),
            durable=result.state is BuildState.CANCELLED,
        )
        try:
            self._writer.queue(change)
        except Refused:
            structlog.get_logger().warning(
                "journal_closed_before_outcome",
                job_name=result.request.job_name,
                state=result.state.value,
            )

    def forget(self, event_hash: str) -> None:
        """Delete an open build of this replica; does not wait.

        One that another replica has answered for meanwhile is left to whoever takes over.
        """
        with contextlib.suppress(Refused):
            self._recorder.queue(Change(forgets=((plain(event_hash),),)))

    def reopen(self, request: BuildRequest) -> bool:
        """Record that a build with an outcome goes again here; returns when on the disk.

        False where it goes already.
        """
        row = build_row(request)
        change = Change(reopens=(row,), durable=True, grip=self._lease.grip())
        self._take_in(self._writer, change)
        return bool(change.told.get(row[0]))

    def keep_commands(self, requests: Sequence[CommandRequest]) -> None:
        """Keep commands, all or none, until ``drop_command``; returns when they are on the disk."""
        rows = [command_row(request) for request in requests]
        change = Change(commands=rows, durable=True, grip=self._lease.grip())
        self._take_in(self._writer, change)

    def drop_command(self, event_hash: str) -> None:
        """Forget a command; does not wait. After ``close`` it stays, and is carried out again."""
        with contextlib.suppress(Refused):
            self._writer.queue(Change(commands_over=((plain(event_hash),),)))

    def note(self, entries: Sequence[bytes], *, refused: bool) -> None:
        """Add entries to the audit; returns when they are on the disk, or after a second.

        While the database is away, what was done is kept in memory; what was ``refused`` is not,
        since nothing bounds it, nor is anything after ``close`` or more than the audit holds.
        """
        if not self.available and (refused or self._writer.backlog >= AUDIT_KEPT[False]):
            return
        rows = [(refused, entry) for entry in entries]
        ticket = Ticket()
        with contextlib.suppress(Refused):
            self._writer.queue(Change(audit=rows, durable=True, ticket=ticket, patient=True))
            ticket.wait(_AUDIT_SECONDS)

    def keep_rejection(self, entry: bytes) -> None:
        """Keep a refused event, one of the last thousand; does not wait.

        Dropped while the database is away, and after ``close``.
        """
        if self.available:
            with contextlib.suppress(Refused):
                self._writer.queue(Change(rejections=((entry,),)))

    def _take_in(self, writer: Writer, change: Change) -> None:
        """Write ``change``; where it is refused, and may be there all the same, it is doubtful."""
        try:
            writer.write(change)
        except Refused:
            self._doubt(change)
            raise

    def _doubt(self, change: Change) -> None:
        """Note that a change which was refused may be there all the same."""
        if change.perhaps:
            self._lease.doubt(change.grip)

    # -- other replicas ------------------------------------------------------------------------

    def overtaken(self) -> list[BuildResult]:
        """Return, once, the outcomes that were not stored since the build was another's by then."""
        results = []
        while self._outcomes.overtaken:
            with tolerance():
                results.append(result_of_row(self._outcomes.overtaken.popleft()))
        return results

    def wait_for_change(self, timeout: float) -> None:
        """Wait until another replica did something that may concern this one, or time is up.

        For one thread.
        """
        self._seen = self._keeper.changed.wait_for_news(self._seen, timeout)

    def left_behind(self, limit: int) -> list[OpenBuild]:
        """Return nothing: what is left is for the other replicas."""
        return []

    def others(self) -> Others:
        """Return what the other replicas' queues hold, some seconds old at most; quick."""
        return self._neighbours.others

    @contextlib.contextmanager
    def _boot_errors(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, OSError) as error:
            reason = f"journal {self._server} cannot be opened: {describe(error)}"
            hopeless = isinstance(error, psycopg.ProgrammingError) or any(
                text in str(error) for text in _NO_HELP
            )
            if hopeless:
                raise BootError(reason) from error
            self._health.note("lease", describe(error))
            raise unavailable(reason) from error
