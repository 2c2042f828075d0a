"""What a journal is to everybody else: one interface, whatever is behind it.

One that several replicas share says more than yes: that a build is another's by now, that there is
no room for one more Job, that others left builds which somebody has to make. A journal of one
process answers the same questions, and most of the answers are empty.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lambda_builder.builds import BuildRequest, BuildResult, CommandRequest
from lambda_builder.journal.values import OpenBuild, OpenReport, Outbox, OutboxMessage
from lambda_builder.selection import BuildFilter, Place
from lambda_builder.steps import Pause


class Claim(enum.Enum):
    """Whether an attempt at a build may begin."""

    GRANTED = enum.auto()
    MOVED = enum.auto()
    """Another replica has the build, or it has an outcome: no Job may be made here."""
    NO_ROOM = enum.auto()
    """``MAX_ACTIVE_JOBS`` Jobs of all replicas together are unfinished."""


@dataclass(frozen=True, slots=True)
class Others:
    """What the other live replicas said last of their queues."""

    replicas: int = 0
    capacity: int = 0
    """Their summed ``QUEUE_SIZE``."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Builds that wait there, by tenant."""


@dataclass(frozen=True, slots=True)
class JobOf:
    """An unfinished Job, by what tells it from others."""

    name: str
    event_hash: bytes
    """The digest, as ``digest_bytes`` makes it."""
    uid: str


class Recording(Pause, Protocol):
    """Builds on their way into the journal."""

    @property
    def is_over(self) -> bool:
        """Whether there never was anything to wait for."""

    def known(self) -> dict[str, BuildResult]:
        """Return what ``record`` does, once it is over; raises ``Refused``."""


class Journal(Protocol):
    """What was accepted; thread-safe. ``open`` comes first, ``close`` last.

    What reads or waits raises ``Refused`` (``JOURNAL_UNAVAILABLE``) while the journal cannot be
    used; it works again by itself. Times in seconds.
    """

    @property
    def durable(self) -> bool:
        """Whether what is recorded outlasts this process."""

    @property
    def shared(self) -> bool:
        """Whether other replicas may use it, too."""

    @property
    def outbox(self) -> Outbox:
        """Messages written in the same transaction as what they tell of."""

    @property
    def available(self) -> bool:
        """Whether the last thing to be written was written."""

    def open(self) -> OpenReport:
        """Make it usable; once. Raises ``BootError``, or ``Refused`` where that may yet succeed."""

    def flush(self, timeout: float) -> bool:
        """Wait until all that was handed in is written; False when that takes too long."""

    def close(self, timeout: float) -> bool:
        """Write what is left and end; False when something could not be written.

        Open builds are others' to take over from then on. Harmless twice, or before ``open``.
        """

    def stats(self) -> dict[str, int]:
        """Return counts; raises nothing."""

    # -- builds --------------------------------------------------------------------------------

    def record(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> dict[str, BuildResult]:
        """Record builds that are new; returns when they are safe.

        Where others may have recorded them, returns those of ``requests`` that were recorded
        before, by event hash, as they are now; they stay as they are. ``turned_away`` are outcomes
        of events that came with them and are not built.
        """

    def recording(
        self, requests: Sequence[BuildRequest], turned_away: Sequence[BuildResult] = ()
    ) -> Recording:
        """Do as ``record`` once what is returned is waited for, or begun."""

    def attempt(self, event_hash: str, attempts: int) -> Claim:
        """Claim the build for its attempt ``attempts``, and note it, before a Job is made.

        Only ``GRANTED`` changes something.
        """

    def take_back_attempt(self, event_hash: str, attempts: int, *, has_job: bool) -> None:
        """Note that an attempt ended without outcome, and that ``attempts`` count; does not wait.

        Unless it may have a Job (``has_job``) the build holds no room of ``MAX_ACTIVE_JOBS`` then.
        """

    def finish(self, result: BuildResult, messages: Sequence[OutboxMessage] = ()) -> None:
        """Store a build's outcome, or a later one, together with ``messages``; does not wait.

        Where the build is another's by now nothing is stored, and ``overtaken`` returns it.
        """

    def forget(self, event_hash: str) -> None:
        """Delete an open build of this replica; does not wait."""

    def reopen(self, request: BuildRequest) -> bool:
        """Record that a dead or failed build goes again here; False where it goes already."""

    def find(self, event_hash: str) -> BuildResult | None:
        """Return the build of an event; an open one is ``queued``."""

    def remembers(self, event_hash: str) -> bool:
        """Whether ``find`` is to be asked before ``record`` is; quick, and reads nothing.

        Where not, the event is new, or ``record`` tells what is known.
        """

    def find_by_id(self, build_id: str) -> list[BuildResult]:
        """Return the builds with this Job name or correlation ID, newest first, at most 500."""

    def finished(self, *, states: Sequence[str], limit: int) -> list[BuildResult]:
        """Return builds with an outcome in one of ``states``, newest first, without their events.

        Only those that this replica is to know of itself: see ``elsewhere`` for others'.
        """

    # -- builds of others ----------------------------------------------------------------------

    def left_open(self) -> int:
        """Return how many open builds nobody works off, and ``take_over`` will return."""

    def take_over(self, limit: int) -> list[OpenBuild]:
        """Make up to ``limit`` of those this replica's own, first what comes first."""

    def relieve(self, limit: int) -> list[OpenBuild]:
        """Make builds this replica's own that wait at the one with the longest queue."""

    def take(self, event_hash: str, *, from_others: bool) -> OpenBuild | None:
        """Make one open build this replica's own, or find that it is; None where that cannot be.

        One that a live replica has moves only with ``from_others``.
        """

    def moved(self) -> list[str]:
        """Return events whose builds went on elsewhere lately: what is known here is out of date.

        They may be returned several times.
        """

    def overtaken(self) -> list[BuildResult]:
        """Return, once, the outcomes that were not stored since the build was another's by then."""

    def unwanted(self, jobs: Sequence[JobOf]) -> list[JobOf]:
        """Return those of all unfinished Jobs whose builds were cancelled, or have another Job.

        Also settles which builds hold room of ``MAX_ACTIVE_JOBS``. Empty where another replica is
        about it.
        """

    def wait_for_change(self, timeout: float) -> None:
        """Wait until another replica did something that may concern this one, or time is up.

        For one thread. Returns at once where there never are others.
        """

    def left_behind(self, limit: int) -> list[OpenBuild]:
        """Return open builds that nobody but the next process of this journal would take over."""

    def elsewhere(
        self, wanted: BuildFilter, *, before: Place | None, limit: int
    ) -> list[BuildResult]:
        """Return builds that other replicas recorded, newest first by their place.

        Without their events; states as recorded: a Job may have gone on since.
        """

    def others(self) -> Others:
        """Return what the other replicas' queues hold, not older than some seconds; quick."""

    # -- commands, audit, rejections -------------------------------------------------------------

    def keep_commands(self, requests: Sequence[CommandRequest]) -> None:
        """Keep commands, all or none, until ``drop_command``; returns when they are safe."""

    def drop_command(self, event_hash: str) -> None:
        """Forget a command; does not wait."""

    def commands(self) -> list[CommandRequest]:
        """Return the commands, oldest first, that an earlier process or a lapsed replica left.

        Each once; they are this replica's from then on.
        """

    def note(self, entries: Sequence[bytes], *, refused: bool) -> None:
        """Add entries to the audit; returns when they are safe, or after a second."""

    def audit(self, *, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """Return entries of the audit with their numbers, the newest of those before ``before``."""

    def keep_rejection(self, entry: bytes) -> None:
        """Keep a refused event, one of the last thousand; does not wait, and may drop it."""

    def rejections(self) -> list[bytes]:
        """Return the refused events that are kept, newest first."""
