"""CancelEvents: cancel events are always taken, so one that cannot be carried out now is kept.

A broker would send a refused cancel again and again; and one that was taken must not be dropped
only because the Kubernetes API is away at that moment.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from lambda_builder.builds import CancelRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.periodic import Periodic

_KEPT = 1000
_AGAIN_SECONDS = 2.0


class CancelEvents:
    """Carries cancels out, now or as soon as Kubernetes can be asked; thread-safe.

    ``cancel`` raises ``Refused`` with ``kubernetes_unavailable`` while it cannot. At most 1,000
    are kept, in memory; beyond that the oldest is dropped and logged.
    """

    def __init__(
        self, cancel: Callable[[CancelRequest], None], available: Callable[[], bool]
    ) -> None:
        self._cancel = cancel
        self._available = available
        self._lock = threading.Lock()
        self._kept: deque[CancelRequest] = deque()
        self._again = Periodic("cancels", _AGAIN_SECONDS, self.try_again)

    def start(self) -> None:
        """Begin to try again what was put off."""
        self._again.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is still alive after ``timeout`` seconds."""
        return self._again.stop(timeout)

    def take(self, request: CancelRequest) -> None:
        """Carry a cancel out, or keep it; raises ``Refused`` only for what waiting cannot help."""
        try:
            self._cancel(request)
        except Refused as refused:
            if refused.code is not RefusalCode.KUBERNETES_UNAVAILABLE:
                raise
            self._keep(request)

    def try_again(self) -> None:
        """Carry out what was kept, once Kubernetes answers."""
        with self._lock:
            waiting = len(self._kept)
        for _ in range(waiting):
            if not self._available():
                return
            with self._lock:
                request = self._kept.popleft()
            try:
                self.take(request)
            except Refused as refused:
                self._log(request, "cancel_event_without_effect", refused.detail)

    def _keep(self, request: CancelRequest) -> None:
        with self._lock:
            self._kept.append(request)
            dropped = self._kept.popleft() if len(self._kept) > _KEPT else None
        self._log(request, "cancel_event_put_off", "the Kubernetes API does not answer")
        if dropped is not None:
            self._log(dropped, "cancel_event_dropped", f"more than {_KEPT} cancels wait")

    def _log(self, request: CancelRequest, event: str, reason: str) -> None:
        structlog.get_logger().warning(
            event,
            event_id=request.event_id,
            correlation_id=request.correlation_id,
            reason=reason[:200],
        )
