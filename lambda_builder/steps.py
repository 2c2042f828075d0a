"""Work in steps, so that what has to wait holds no thread where a loop drives it.

The steps are a generator. It yields what it has to wait for, or None where what follows may wait in
ways that a loop has no part in, such as a read from a disk: then it goes on in a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

T = TypeVar("T")


class Pause(Protocol):
    """Something that is waited for, once, in one of two ways; whoever waits looks how it ended."""

    @property
    def seconds(self) -> float:
        """How long it may take before whoever began it gives it up."""

    def wait(self) -> None:
        """Begin it, and return once it is over; raises nothing."""

    def begin(self, then: Callable[[], object]) -> None:
        """Begin it; ``then`` is called once it is over, in any thread, perhaps before this returns.

        Raises nothing.
        """

    def give_up(self) -> None:
        """End it if it may still be ended: it has taken too long. Raises nothing."""


Steps = Generator[Pause | None, None, T]


class Work(Generic[T]):
    """Steps on their way; used by one thread at a time.

    ``enter_thread`` is called before they first wait in a thread; what it raises they are told.
    """

    def __init__(self, steps: Steps[T], enter_thread: Callable[[], object] = lambda: None) -> None:
        self._steps = steps
        self._enter_thread = enter_thread
        self._is_begun = False
        self.is_over = False
        self._result: T | None = None

    @property
    def result(self) -> T:
        """What the steps returned, once they are over."""
        return cast("T", self._result)

    def go_on(self) -> Pause | None:
        """Take the next step; returns what to wait for before the one after it.

        None where the work is over, or needs a thread: see ``finish``.
        """
        return self._take(partial(next, self._steps))

    def finish(self) -> T:
        """Go on to the end, and wait for whatever there is to wait for.

        A pause that comes first is not begun where a thread cannot be entered.
        """
        pause = None if self._is_begun else self.go_on()
        if not self.is_over:
            try:
                self._enter_thread()
            except Exception as error:  # noqa: BLE001 - theirs to judge
                pause = self._take(partial(self._steps.throw, error))
        while not self.is_over:
            if pause is not None:
                pause.wait()
            pause = self.go_on()
        return self.result

    def _take(self, step: Callable[[], Any]) -> Pause | None:
        self._is_begun = True
        try:
            pause: Pause | None = step()
        except StopIteration as end:
            self._result, self.is_over = end.value, True
            return None
        return pause


class Ending:
    """The end of something that others wait for; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_over = False
        self._thens: list[Callable[[], object]] = []

    def come(self) -> None:
        """Let all who wait go on; once."""
        with self._lock:
            self._is_over = True
            thens = self._thens
        for then in thens:
            then()

    def tell(self, then: Callable[[], object]) -> None:
        """Call ``then`` once the end has come."""
        with self._lock:
            if not self._is_over:
                self._thens.append(then)
                return
        then()


class UntilEnding:
    """One wait for an ``Ending``, for at most ``seconds``."""

    def __init__(self, ending: Ending, seconds: float) -> None:
        self._ending = ending
        self.seconds = seconds
        self._then: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._is_told = False
        self.came = False
        """Whether the end came in time."""

    def wait(self) -> None:
        """Wait for the end, or until time is up."""
        over = threading.Event()
        self.begin(over.set)
        if not over.wait(self.seconds):
            self.give_up()

    def begin(self, then: Callable[[], object]) -> None:
        """Have ``then`` called at the end, or once it is given up."""
        self._then = then
        self._ending.tell(partial(self._tell, came=True))

    def give_up(self) -> None:
        """Wait no longer."""
        self._tell(came=False)

    def _tell(self, *, came: bool) -> None:
        with self._lock:
            if self._is_told:
                return
            self._is_told, self.came = True, came
        self._then()
