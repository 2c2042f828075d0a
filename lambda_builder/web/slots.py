"""Bounds on threads that wait for something else, so that others stay free to answer."""

from __future__ import annotations

from threading import BoundedSemaphore
from types import TracebackType

from lambda_builder.errors import RefusalCode, Refused


class Slot:
    """One taken slot: a context manager that gives it back once, whoever asks how often."""

    def __init__(self, semaphores: tuple[BoundedSemaphore, ...]) -> None:
        self._semaphores = semaphores

    def release(self) -> None:
        """Give the slot back; harmless twice, but not from two threads at once."""
        semaphores, self._semaphores = self._semaphores, ()
        for semaphore in semaphores:
            semaphore.release()

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


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

    def take(self) -> Slot:
        """Take a slot; raises ``Refused`` where there is none."""
        taken: list[BoundedSemaphore] = []
        for semaphore in self._semaphores:
            if not semaphore.acquire(timeout=self._patience_seconds):
                Slot(tuple(taken)).release()
                raise Refused(self._code, f"too many {self._purpose}, please retry later")
            taken.append(semaphore)
        return Slot(tuple(taken))
