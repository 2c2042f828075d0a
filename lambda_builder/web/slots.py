"""Bounds on threads that wait for something else, so that others stay free to answer."""

from __future__ import annotations

from contextlib import ExitStack
from threading import BoundedSemaphore

from lambda_builder.errors import RefusalCode, Refused


class _Places:
    """A semaphore that nobody waits for when another has just done so in vain.

    Who waits holds a thread, and others wait behind it: one after the other they would hold up
    all that come later, probes too.
    """

    def __init__(self, size: int) -> None:
        self._free = BoundedSemaphore(size)
        self._is_in_vain = False

    def acquire(self, patience: float) -> bool:
        """Take a place; False where none is free within ``patience`` seconds."""
        if self._free.acquire(timeout=0.0 if self._is_in_vain else patience):
            return True
        self._is_in_vain = self._is_in_vain or patience > 0
        return False

    def release(self) -> None:
        """Give a place back."""
        self._is_in_vain = False
        self._free.release()


class Slots:
    """At most ``size`` at a time, and no more than ``within`` has left. Thread-safe.

    Who finds none waits up to ``patience_seconds`` for one, unless another has just waited in vain
    and none was given back since.
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
        self._places: tuple[_Places, ...] = (_Places(size),)
        if within is not None:
            self._places += within._places

    def take(self) -> ExitStack:
        """Take a slot, to be closed as soon as it is not needed; raises ``Refused`` without one.

        Closing it is harmless twice, but not from two threads at once.
        """
        with ExitStack() as slot:
            for places in self._places:
                if not places.acquire(self._patience_seconds):
                    raise Refused(self._code, f"too many {self._purpose}, please retry later")
                slot.callback(places.release)
            return slot.pop_all()
