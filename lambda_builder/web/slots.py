"""Bounds on threads that wait for something else, so that others stay free to answer."""

from __future__ import annotations

from contextlib import ExitStack
from threading import BoundedSemaphore

from lambda_builder.errors import RefusalCode, Refused


class Slots:
    """At most ``size`` at a time, and no more than ``within`` has left. Thread-safe.

    Who finds none waits up to ``patience_seconds`` for one.
    """

    def __init__(
        self,
        size: int,
        purpose: str,
        *,
        within: Slots | None = None,
        patience_seconds: float = 0.0,
        code: RefusalCode = RefusalCode.TOO_MANY_WAITING,
    ) -> None:
        self._purpose = purpose
        self._code = code
        self._patience_seconds = patience_seconds
        self._semaphores: tuple[BoundedSemaphore, ...] = (BoundedSemaphore(size),)
        if within is not None:
            self._semaphores += within._semaphores

    def take(self) -> ExitStack:
        """Take a slot, to be closed as soon as it is not needed; raises ``Refused`` without one.

        Closing it is harmless twice, but not from two threads at once.
        """
        with ExitStack() as slot:
            for semaphore in self._semaphores:
                if not semaphore.acquire(timeout=self._patience_seconds):
                    raise Refused(self._code, f"too many {self._purpose}, please retry later")
                slot.callback(semaphore.release)
            return slot.pop_all()
