"""CancelEvents: cancel events are always taken, and carried out by a thread of their own.

A broker would send a refused cancel again and again; one that was taken must not hold an HTTP
thread while Kubernetes is slow, nor be dropped because its API is away at that moment, or because
its build waits at another replica and has no Job yet that all replicas could see.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from dataclasses import dataclass
from typing import Protocol

import structlog

from lambda_builder.builds import CancelRequest
from lambda_builder.errors import LambdaBuilderError, RefusalCode, Refused
from lambda_builder.threads import Background, Backoff

_KEPT = 1000
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_PATIENCE_SECONDS = 600.0
"""How long a cancel waits for its build to be found, or for Kubernetes."""
_WORTH_WAITING = (RefusalCode.KUBERNETES_UNAVAILABLE, RefusalCode.NOT_FOUND)


class Cancel(Protocol):
    """Cancels what an event means; raises ``Refused``."""

    def __call__(self, request: CancelRequest, *, accepted_before: float) -> None: ...


@dataclass(slots=True)
class _Taken:
    request: CancelRequest
    at: float
    """Seconds since the epoch."""
    tries: int = 0


class CancelEvents:
    """Carries cancels out; thread-safe. starts and stops as ``Background``.

    What cannot be carried out yet is tried again, less and less often, for ten minutes; meanwhile
    the others have their turn. At most 1,000 wait, in memory: a restart forgets them, and says so.
    """

    def __init__(self, cancel: Cancel) -> None:
        self._cancel = cancel
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, _Taken]] = []
        """By when they are due, on the monotonic clock."""
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._thread = Background("cancels", self._loop, wake=self._look_again)

    def start(self) -> None:
        """Begin to carry out what was taken; does nothing after ``stop``."""
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread, after what is due now; returns it if alive after ``timeout`` seconds."""
        alive = self._thread.stop(timeout)
        for _, _, taken in self._waiting:
            _log(taken.request, "cancel_event_left", "the service stops before it had an effect")
        return alive

    def take(self, request: CancelRequest) -> None:
        """Take a cancel; returns at once."""
        with self._changed:
            room = len(self._waiting) < _KEPT
            if room:
                self._put(_Taken(request, time.time()), 0.0)
        if not room:
            _log(request, "cancel_event_dropped", f"{_KEPT} cancels wait already")

    def _put(self, taken: _Taken, pause: float) -> None:
        due = time.monotonic() + pause
        heapq.heappush(self._waiting, (due, next(self._numbers), taken))
        self._changed.notify_all()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _loop(self, stopping: threading.Event) -> None:
        while (taken := self._next(stopping)) is not None:
            again = self._carry_out(taken)
            if again:
                with self._changed:
                    self._put(taken, self._backoff.pause(taken.tries))
                taken.tries += 1

    def _next(self, stopping: threading.Event) -> _Taken | None:
        """Return the next cancel once it is due; None when it is time to end."""
        with self._changed:
            while True:
                left = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._waiting)[2]
                if stopping.is_set():
                    return None
                self._changed.wait(left)

    def _carry_out(self, taken: _Taken) -> bool:
        """Try one cancel; True where it has to be tried again."""
        request = taken.request
        try:
            self._cancel(request, accepted_before=taken.at)
        except Refused as refused:
            if refused.code in _WORTH_WAITING and time.time() - taken.at < _PATIENCE_SECONDS:
                if taken.tries == 0:
                    _log(request, "cancel_event_put_off", refused.detail)
                return True
            _log(request, "cancel_event_without_effect", refused.detail)
        except LambdaBuilderError as error:
            _log(request, "cancel_event_without_effect", str(error))
        except Exception:  # noqa: BLE001 - one bad cancel must not end the others
            structlog.get_logger().exception("cancel_event_crashed", event_id=request.event_id)
        return False


def _log(request: CancelRequest, event: str, reason: str) -> None:
    structlog.get_logger().warning(
        event,
        event_id=request.event_id,
        correlation_id=request.correlation_id,
        means=request.job_name or request.target_correlation_id or request.parser_id,
        reason=reason[:200],
    )
