"""Precedence: requests are answered first, and what can wait takes turns.

One interpreter runs one thread at a time and knows no priorities: a thread that answers waits in
line with all that make Jobs, watch them and tell of them, for up to five milliseconds each
(https://docs.python.org/3/library/sys.html#sys.setswitchinterval). So those give way: while there
are requests, one of them runs at a time, and in a burst none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

BURST_SECONDS = 2.0
"""How long in one go nothing but answering is done; as long without requests gives it back."""
COMMIT_SECONDS = 0.005
"""How long a turn is put off in a burst while answers wait for the journal, which has work too."""
GAP_SECONDS = 0.001
"""How long a turn is put off where requests never end: who answers works meanwhile."""
STUCK_SECONDS = 0.1
"""Whoever keeps a turn for so long waits for something else: it is not waited for."""

_AT_REST, _BESIDE, _WAITING, _ANSWERING = range(4)


class Precedence:
    """Who goes first. Without anybody who answers, nobody waits.

    ``answering`` and ``resting`` are for the one thread that answers, and cost it next to nothing;
    the rest is for all others. Bounded, so that what can wait is only late: where
    requests never end, it has its turns after ``BURST_SECONDS``, and a turn that somebody keeps
    while it waits for something else is taken away.
    """

    def __init__(self) -> None:
        self._state = _AT_REST
        self._changed_at = time.monotonic()
        """When it was last at rest, or came to it."""
        self._burst_left = BURST_SECONDS
        """At that time."""
        self._eased = threading.Event()
        self._line = threading.Lock()
        """Held by who has the turn; another takes its place when it is taken away."""
        self._turns = 0
        self._mine = threading.local()

    # -- who answers -----------------------------------------------------------------------------

    def answering(self) -> None:
        """There is a request to work on."""
        if self._state <= _BESIDE:
            now = time.monotonic()
            self._burst_left = min(BURST_SECONDS, self._burst_left + now - self._changed_at)
            self._changed_at = now
        self._state = _ANSWERING

    def resting(self, *, waiting: bool, beside: bool = False) -> None:
        """There is none, or (``waiting``) all of them wait for the journal.

        ``beside``: others are answered in threads, and should have few to stand in line with.
        """
        if not waiting and self._state > _BESIDE:
            self._burst_left, self._changed_at = self._left(), time.monotonic()
        self._state = _WAITING if waiting else _BESIDE if beside else _AT_REST
        if not self._eased.is_set():
            self._eased.set()

    # -- who can wait ----------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run the block when it is its turn; within another turn it is part of that."""
        mine = self._mine.__dict__
        if mine.get("is_inside"):
            yield
            return
        mine["is_inside"] = True
        try:
            mine["line"] = self._take()
            yield
        finally:
            self.step_aside()
            mine["is_inside"] = False

    def step_aside(self) -> None:
        """Let others have the turn before waiting for something else; harmless at any time."""
        mine = self._mine.__dict__
        line, mine["line"] = mine.get("line"), None
        if line is not None:
            line.release()

    def go_on(self) -> None:
        """Wait for the turn again after ``step_aside``; nothing outside of a turn."""
        mine = self._mine.__dict__
        if mine.get("is_inside") and not mine.get("line") and not mine.get("is_exempt"):
            mine["line"] = self._take()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let others have the turn during the block, which waits for something else."""
        self.step_aside()
        try:
            yield
        finally:
            self.go_on()

    @contextmanager
    def exempt(self) -> Iterator[None]:
        """Run the block, which answers a request in a thread, without turns."""
        mine = self._mine.__dict__
        mine["is_inside"] = mine["is_exempt"] = True
        try:
            yield
        finally:
            mine["is_inside"] = mine["is_exempt"] = False

    def _take(self) -> threading.Lock | None:
        """Wait for the turn; None where everybody has one."""
        if self._state == _AT_REST:
            return None
        line = self._stand_in_line()
        if self._state == _WAITING and self._left():
            self._eased.clear()
            self._eased.wait(COMMIT_SECONDS)
        while self._state == _ANSWERING and self._left():
            self._eased.clear()
            if self._state == _ANSWERING:
                self._eased.wait(self._left())
        if self._state > _BESIDE and not self._left():
            self._eased.clear()
            self._eased.wait(GAP_SECONDS)
        self._turns += 1  # it begins only now
        return line

    def _stand_in_line(self) -> threading.Lock:
        while True:
            line, turns = self._line, self._turns
            if line.acquire(timeout=STUCK_SECONDS):
                if line is self._line:
                    self._turns += 1
                    return line
                line.release()
                continue
            is_held_up = self._state == _ANSWERING and self._left()
            if self._line is line and self._turns == turns and not is_held_up:
                self._line = threading.Lock()

    def _left(self) -> float:
        """Seconds of the burst."""
        used = 0.0 if self._state <= _BESIDE else time.monotonic() - self._changed_at
        return max(0.0, self._burst_left - used)
