"""How threads begin, end and pause: Background, and Backoff between tries of what fails."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable

import structlog

_MOST_DOUBLINGS = 60
"""Far beyond any cap; a float ends after 1,023."""


class Background:
    """One daemon thread for ``run``, which gets the event that is set when it has to end.

    The contract of everything here that starts and stops, safe from any thread: ``start`` is
    harmless twice and does nothing after ``stop``; ``stop`` is harmless twice, before ``start``
    and from the thread itself.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[threading.Event], object],
        *,
        wake: Callable[[], object] | None = None,
    ) -> None:
        """``wake`` ends a wait of ``run`` for anything else; called once ``stopping`` is set."""
        self.stopping = threading.Event()
        self._wake = wake
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=run, args=(self.stopping,), name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        with self._lock:
            if self._thread.ident is None and not self.stopping.is_set():
                self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the thread end; does not wait for it."""
        self.stopping.set()
        if self._wake is not None:
            self._wake()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is still alive after ``timeout`` seconds."""
        self.ask_to_stop()
        with self._lock:  # once a start under way is over
            thread = self._thread
        return join_all([thread], timeout)


def repeating(
    name: str, seconds: float, action: Callable[[], object], *, at_once: bool = False
) -> Background:
    """Return a thread that calls ``action`` every ``seconds``, first ``at_once`` or after them.

    An exception is logged, and the next call still comes.
    """

    def run(stopping: threading.Event) -> None:
        pause = 0.0 if at_once else seconds
        while not stopping.wait(pause):
            pause = seconds
            try:
                action()
            except Exception:  # noqa: BLE001 - the next round may go better
                structlog.get_logger().exception("periodic_failed", thread=name)

    return Background(name, run)


def join_all(threads: Iterable[threading.Thread], timeout: float) -> list[str]:
    """Wait for threads with one deadline, ``timeout`` seconds from now; returns who is alive.

    Of those that were not started, and of the calling one, only the latter counts as alive.
    """
    threads, deadline = list(threads), time.monotonic() + timeout
    for thread in threads:
        if thread.ident is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]


def stop_all(parts: Iterable[Background], timeout: float) -> list[str]:
    """Ask all to end, then wait with one deadline; returns the names of those still alive."""
    parts, deadline = list(parts), time.monotonic() + timeout
    for part in parts:
        part.ask_to_stop()
    return [name for part in parts for name in part.stop(max(0.0, deadline - time.monotonic()))]


class Backoff:
    """Pauses that double up to a cap, with jitter, so that many do not come back at once."""

    def __init__(
        self,
        first: float,
        longest: float,
        *,
        jitter: float = 0.5,
        rng: random.Random | None = None,
    ) -> None:
        """Seconds; ``jitter`` is the share of each pause that is left to chance, 1 for all."""
        self._first, self._longest, self._jitter = first, longest, jitter
        self._rng = rng or random.Random()  # noqa: S311 - jitter

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures before the last one, 0 at first."""
        doubled: float = self._first * 2 ** min(max(0, failures), _MOST_DOUBLINGS)
        bound = min(self._longest, doubled)
        return bound * self._rng.uniform(1 - self._jitter, 1)
