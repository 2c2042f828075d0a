"""Periodic: one daemon thread that does one thing again and again until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog


class Periodic:
    """Calls ``action`` every ``seconds``; an exception is logged and the next call still comes.

    ``start`` and ``stop`` are harmless twice and in any order; ``stop`` wakes the thread.
    """

    def __init__(
        self, name: str, seconds: float, action: Callable[[], None], *, at_once: bool = False
    ) -> None:
        """``at_once``: the first call comes right after ``start``, not only after ``seconds``."""
        self._at_once = at_once
        self._seconds = seconds
        self._action = action
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; does nothing after ``stop``."""
        with self._lock:
            if self._thread.ident is None and not self._stopping.is_set():
                self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is still alive after ``timeout`` seconds."""
        self._stopping.set()
        with self._lock:
            started = self._thread.ident is not None
        if started:
            self._thread.join(timeout)
        return [self._thread.name] if self._thread.is_alive() else []

    def _loop(self) -> None:
        while not self._stopping.wait(0 if self._at_once else self._seconds):
            self._at_once = False
            try:
                self._action()
            except Exception:  # noqa: BLE001 - the next round may go better
                structlog.get_logger().exception("periodic_failed", thread=self._thread.name)
