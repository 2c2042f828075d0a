"""CommandEvents: cancel and retry events are kept until they are carried out, by one thread.

A broker would send a refused one again and again; one that was taken must not hold an HTTP
thread while Kubernetes is slow, nor be dropped because its API is away at that moment, or because
its build waits at another replica and has no Job yet that all replicas could see.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from lambda_builder.builds import CommandRequest
from lambda_builder.errors import LambdaBuilderError, RefusalCode, Refused
from lambda_builder.journal import Journal
from lambda_builder.kube.health import ApiHealth
from lambda_builder.steering.execution import WORTH_WAITING
from lambda_builder.threads import Background, Backoff

_KEPT = 1000
"""Commands that are kept at a time; as many again whose builds are not known."""
_KEPT_UNKNOWN = 100
"""Commands of one source whose builds are not known: they may be junk."""
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_READ_AGAIN_SECONDS = 1.0
"""Pause after the journal could not be read; it may be waiting for room on its volume."""
_LONGEST_TURN = 2.0
"""Most seconds for which a command that needs the API is waited with."""
_PATIENCE_SECONDS = 600.0
"""How long a command waits for its build to be found."""
_END_SECONDS = 30.0
"""How long a retry waits for its build to end: whoever sent it may have seen that sooner."""


class Execution(Protocol):
    """What commands are carried out by."""

    def knows(self, request: CommandRequest) -> bool:
        """Whether the build that is meant is known; must be quick."""

    def needs_api(self, request: CommandRequest) -> bool:
        """Whether a call of the Kubernetes API has to be made; must be quick."""

    def carry_out(self, request: CommandRequest, *, newest: int | None, done: set[str]) -> None:
        """Do what is asked for; raises ``Refused``. ``done`` is this command's from try to try."""

    def without_effect(self, request: CommandRequest, code: RefusalCode) -> None:
        """Take note of a command that is given up."""


@dataclass(slots=True, eq=False)
class _Kept:
    request: CommandRequest
    newest: int | None
    """Number of the newest build that may be meant; None for one from before a restart."""
    unknown: bool
    """No build that it could mean was known when it came."""
    since: float
    """On the monotonic clock."""
    is_kept: bool = False
    """Whether its delivery was answered as accepted; before, it may still be forgotten."""
    tries: int = 0
    done: set[str] = field(default_factory=set)
    """Events of the builds that it has let go again."""


class CommandEvents:
    """Keeps commands and carries them out; thread-safe. starts and stops as ``Background``.

    What cannot be carried out yet is tried again, less and less often, and meanwhile the others
    have their turn: without end while Kubernetes is away or the queue is full, for ten minutes
    where no build is found that it could mean. With a journal a restart takes up what is left;
    else it is logged.
    """

    def __init__(
        self,
        execution: Execution,
        journal: Journal,
        health: ApiHealth,
        last_number: Callable[[], int],
    ) -> None:
        """``last_number`` returns the number of the newest build that is known by now."""
        self._execution = execution
        self._journal = journal
        self._health = health
        self._last_number = last_number
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._kept: dict[str, _Kept] = {}
        """By the identity of the event."""
        self._due: list[tuple[float, int, _Kept]] = []
        """By when they are due, on the monotonic clock."""
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._thread = Background("command-events", self._loop, wake=self._look_again)

    def start(self) -> None:
        """Begin, with what an earlier process left; does nothing after ``stop``."""
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread, after what is due now; returns it if alive after ``timeout`` seconds."""
        alive = self._thread.stop(timeout)
        for kept in [*self._kept.values()]:
            _log(kept.request, "command_event_left", "the service stops before it had an effect")
        return alive

    @contextmanager
    def keeping(self, requests: Sequence[CommandRequest]) -> Iterator[None]:
        """Keep commands, all or none, and carry them out once the block has ended well.

        Raises ``Refused``: ``too_many_waiting`` where there is no room for them, and
        ``journal_unavailable``. Where the block raises they are forgotten again.
        """
        kept = self._enter(requests) if requests else []
        try:
            if kept:
                self._journal.keep_commands([each.request for each in kept])
            yield
        except BaseException:
            for each in kept:
                self._forget(each)
            raise
        with self._changed:
            for each in kept:
                each.is_kept = True
                self._put(each, 0.0)

    # -- room ----------------------------------------------------------------------------------

    def _enter(self, requests: Sequence[CommandRequest]) -> list[_Kept]:
        newest, now = self._last_number(), time.monotonic()
        fresh = {
            request.event_hash: _Kept(request, newest, not self._execution.knows(request), now)
            for request in requests
        }
        with self._changed:
            # One that is sent again while it is kept is the same.
            if any(not self._kept[key].is_kept for key in fresh.keys() & self._kept.keys()):
                raise Refused(
                    RefusalCode.TOO_MANY_WAITING,
                    "another delivery of this event is still being accepted, please retry",
                    retry_after=1,
                )
            entered = [kept for key, kept in fresh.items() if key not in self._kept]
            self._refuse_too_many(entered)
            self._kept.update((kept.request.event_hash, kept) for kept in entered)
        return entered

    def _refuse_too_many(self, entered: Sequence[_Kept]) -> None:
        """Raise ``Refused`` where not all fit; those whose builds are known have room of theirs."""
        waiting = [*self._kept.values(), *entered]
        for unknown in {kept.unknown for kept in entered}:
            if sum(kept.unknown is unknown for kept in waiting) > _KEPT:
                raise _too_many("cancels and retries")
        by_source = Counter(kept.request.event_source for kept in waiting if kept.unknown)
        for kept in entered:
            if kept.unknown and by_source[kept.request.event_source] > _KEPT_UNKNOWN:
                raise _too_many("cancels and retries of unknown builds from this source")

    def _forget(self, kept: _Kept) -> None:
        with self._changed:
            self._kept.pop(kept.request.event_hash, None)
        self._journal.drop_command(kept.request.event_hash)

    # -- the thread ----------------------------------------------------------------------------

    def _put(self, kept: _Kept, pause: float) -> None:
        due = time.monotonic() + pause
        heapq.heappush(self._due, (due, next(self._numbers), kept))
        self._changed.notify_all()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _loop(self, stopping: threading.Event) -> None:
        self._take_up(stopping)
        while (kept := self._next(stopping)) is not None:
            if not self._carry_out(kept, stopping):
                self._forget(kept)
                continue
            with self._changed:
                self._put(kept, self._backoff.pause(kept.tries))
            kept.tries += 1

    def _take_up(self, stopping: threading.Event) -> None:
        """Carry out what an earlier process left, once the journal can be read."""
        self._put_all(self._left_behind(stopping))

    def _put_all(self, requests: Sequence[CommandRequest]) -> None:
        with self._changed:
            for request in requests:
                kept = _Kept(request, None, unknown=True, since=time.monotonic(), is_kept=True)
                if self._kept.setdefault(request.event_hash, kept) is kept:
                    self._put(kept, 0.0)

    def take_up(self) -> None:
        """Carry out what replicas that are gone left, where the journal can be read now."""
        if not self._thread.stopping.is_set():
            with suppress(Refused):
                self._put_all(self._journal.commands())

    def _left_behind(self, stopping: threading.Event) -> list[CommandRequest]:
        """Read what the journal keeps, however long that cannot be done; nothing at the end."""
        is_first = True
        while True:
            try:
                return self._journal.commands()
            except Refused as refused:
                if is_first:
                    structlog.get_logger().error("command_events_not_read", reason=refused.detail)
            is_first = False
            if stopping.wait(_READ_AGAIN_SECONDS):
                return []

    def _next(self, stopping: threading.Event) -> _Kept | None:
        """Return the next command once it is due; None when it is time to end."""
        with self._changed:
            while True:
                left = self._due[0][0] - time.monotonic() if self._due else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._due)[2]
                if stopping.is_set():
                    return None
                self._changed.wait(left)

    def _carry_out(self, kept: _Kept, stopping: threading.Event) -> bool:
        """Try one command; True where it has to be tried again."""
        request = kept.request
        try:
            if self._execution.needs_api(request) and not self._may_call(stopping):
                return True
            self._execution.carry_out(request, newest=kept.newest, done=kept.done)
        except Refused as refused:
            if self._is_worth_waiting(kept, refused.code):
                if kept.tries == 0:
                    _log(request, "command_event_put_off", refused.detail)
                return True
            _log(request, "command_event_without_effect", refused.detail)
            self._execution.without_effect(request, refused.code)
        except LambdaBuilderError as error:
            _log(request, "command_event_without_effect", str(error))
        except Exception:  # noqa: BLE001 - one bad command must not end the others
            structlog.get_logger().exception("command_event_crashed", event_id=request.event_id)
        return False

    def _may_call(self, stopping: threading.Event) -> bool:
        """Wait for a turn like everybody else who calls the API.

        False while that may take long: others need no call, and must not wait for this one.
        """
        return self._health.held_seconds < _LONGEST_TURN and self._health.wait_turn(stopping)

    def _is_worth_waiting(self, kept: _Kept, code: RefusalCode) -> bool:
        if code is RefusalCode.NOT_FOUND:
            return time.monotonic() - kept.since < _PATIENCE_SECONDS
        if code is RefusalCode.NOT_RETRYABLE:
            return time.monotonic() - kept.since < _END_SECONDS
        return code in WORTH_WAITING


def _too_many(what: str) -> Refused:
    return Refused(
        RefusalCode.TOO_MANY_WAITING, f"too many {what} wait, please retry later", retry_after=30
    )


def _log(request: CommandRequest, event: str, reason: str) -> None:
    structlog.get_logger().warning(
        event,
        action=request.action.value,
        event_id=request.event_id,
        correlation_id=request.correlation_id,
        means=request.job_name or request.target_correlation_id or request.parser_id,
        reason=reason[:200],
    )
