"""CancelEvents: cancel events are always taken, and carried out by a thread of their own.

A broker would send a refused cancel again and again; one that was taken must not hold an HTTP
thread while Kubernetes is slow, nor be dropped because its API is away at that moment.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from lambda_builder.builds import CancelRequest
from lambda_builder.errors import LambdaBuilderError, RefusalCode, Refused

_KEPT = 1000
_AGAIN_SECONDS = 2.0


class CancelEvents:
    """Carries cancels out in the order they came; thread-safe.

    ``cancel`` raises ``Refused`` with ``kubernetes_unavailable`` while it cannot: the cancel is
    then tried again until it can. At most 1,000 wait, in memory; beyond that the oldest is
    dropped and logged. ``start`` and ``stop`` are harmless twice.
    """

    def __init__(
        self, cancel: Callable[[CancelRequest], None], available: Callable[[], bool]
    ) -> None:
        self._cancel = cancel
        self._available = available
        self._changed = threading.Condition()
        self._waiting: deque[CancelRequest] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="cancels", daemon=True)

    def start(self) -> None:
        """Begin to carry out what was taken; does nothing after ``stop``."""
        with self._changed:
            if self._thread.ident is None and not self._stopping:
                self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """Carry out what can be now, within ``timeout`` seconds; returns the thread if alive."""
        with self._changed:
            self._stopping = True
            started = self._thread.ident is not None
            self._changed.notify_all()
        if started:
            self._thread.join(timeout)
        return [self._thread.name] if self._thread.is_alive() else []

    def take(self, request: CancelRequest) -> None:
        """Take a cancel; returns at once."""
        with self._changed:
            self._waiting.append(request)
            dropped = self._waiting.popleft() if len(self._waiting) > _KEPT else None
            self._changed.notify_all()
        if dropped is not None:
            _log(dropped, "cancel_event_dropped", f"more than {_KEPT} cancels wait")

    def _loop(self) -> None:
        while (request := self._next()) is not None:
            if not self._carry_out(request):
                with self._changed:
                    self._waiting.appendleft(request)
                    if self._stopping:
                        return
                    self._changed.wait(_AGAIN_SECONDS)

    def _next(self) -> CancelRequest | None:
        """Return the next cancel once there is one; None when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            return self._waiting.popleft() if self._waiting else None

    def _carry_out(self, request: CancelRequest) -> bool:
        """Try one cancel; False where it has to be tried again."""
        if not self._available():
            return False
        try:
            self._cancel(request)
        except Refused as refused:
            if refused.code is RefusalCode.KUBERNETES_UNAVAILABLE:
                _log(request, "cancel_event_put_off", refused.detail)
                return False
            _log(request, "cancel_event_without_effect", refused.detail)
        except LambdaBuilderError as error:
            _log(request, "cancel_event_without_effect", str(error))
        except Exception:  # noqa: BLE001 - one bad cancel must not end the others
            structlog.get_logger().exception("cancel_event_crashed", event_id=request.event_id)
        return True


def _log(request: CancelRequest, event: str, reason: str) -> None:
    structlog.get_logger().warning(
        event,
        event_id=request.event_id,
        correlation_id=request.correlation_id,
        reason=reason[:200],
    )
