"""A scheduler that runs threads one at a time, and chooses by a seed whose turn it is.

The threads are real. What they lock, wait for and read the time from is replaced (``standins``), in
the modules of the service and in the two of the standard library that lock for it: so there is a
choice before each lock, wait and wake, and, in the service's own code, before any line. Time passes
only when nobody can go on, or by choice when somebody waits for it, and costs nothing. So a run is
decided by its seed alone, and one in which everybody waits for ever is seen as such at once.

Half of the runs choose evenly; the others prefer one thread to another and change their mind now
and then (Burckhardt et al., `A randomized scheduler with probabilistic guarantees of finding bugs
<https://doi.org/10.1145/1736020.1736040>`_, 2010), so that a thread may be passed by for very long.

``frontrun`` chooses before each opcode and leaves out orders that are alike; but it took 40 ms for
each order of three threads where this takes 3, and does not see the threads that the code starts.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lambda_builder

_MOST_STEPS = 200_000
"""A run that takes more turns will not end."""
HANDOVER_SECONDS = 60.0
"""Longest that one turn may take: it calls nothing that waits."""
_PREEMPTIONS = (0.0, 0.01, 0.05, 0.2)
"""Chances, of which a run has one, that a thread is stopped before a line."""
_TIME_PASSES = (0.0, 0.0, 0.02)
"""Chances, of which a run has one, that at a turn the time comes that somebody waits for, though
others could go on."""
_CHANGE_OF_MIND = 0.02
"""Chance that a preferred thread is preferred no more, at each of its turns."""
_SOON_SECONDS = 1.0
"""Only what is so near comes before its time: no thread is kept waiting for minutes."""
_OURS = str(Path(lambda_builder.__file__).parent)


class Abandoned(BaseException):
    """The run is over: unwinds the threads that are left."""


class Stuck(AssertionError):
    """Everybody waits, and nothing is left that would wake anybody."""


class Task:
    """A thread's place in the schedule."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.turn = threading.Lock()
        """Free when it is this one's turn."""
        self.turn.acquire()
        self.ready: Callable[[], bool] | None = None
        """What it waits for; None while it can go on."""
        self.deadline: float | None = None
        self.preference = 0.0
        self.done = False


class Scheduler:
    """One run; ``now`` is its monotonic time in seconds."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.wall = 1_700_000_000.0
        """What the wall clock shows beyond ``now``; tests move it."""
        self.aborted = False
        self.failure: BaseException | None = None
        self.order = hashlib.sha256()
        """Of whose turn it was; equal for equal runs."""
        self._preemption = self.rng.choice(_PREEMPTIONS)
        self._time_passes = self.rng.choice(_TIME_PASSES)
        self._prefers = self.rng.random() < 0.5
        self._steps = 0
        self.numbers = itertools.count()
        self.idents: dict[int, Task] = {}
        self._tasks: list[Task] = []
        self._here = threading.local()

    # -- tasks ---------------------------------------------------------------------------------

    def adopt(self, name: str) -> Task:
        """Add a thread, which does not run before its turn."""
        task = Task(next(self.numbers), name)
        task.preference = self.rng.random()
        self._tasks.append(task)
        return task

    @property
    def current(self) -> Task | None:
        """The calling thread's task."""
        task: Task | None = getattr(self._here, "task", None)
        return task

    def run_as(self, task: Task, run: Callable[[], object]) -> None:
        """Be ``task`` in the calling thread, from its first turn to its end."""
        self._here.task = task
        self.idents[threading.get_ident()] = task
        try:
            self._await_turn(task)
            if self._preemption:
                sys.settrace(self._trace)
            run()
        except Abandoned:
            pass
        except BaseException as error:  # noqa: BLE001 - a test's own threads must not fail unseen
            self.failure = self.failure or error
            self.aborted = True
        finally:
            sys.settrace(None)
            task.done = True
            self._here.task = None
            self._hand_over(task)

    # -- turns ---------------------------------------------------------------------------------

    def turn(self) -> None:
        """Let another thread go on, perhaps."""
        task = self.current
        if task is not None:
            self._check()
            self._hand_over(task)

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until ``ready``; False where ``timeout`` seconds passed before."""
        task = self.current
        if task is None:
            raise AssertionError("only a task may wait")
        self._check()
        deadline = None if timeout is None else self.now + max(0.0, timeout)
        task.ready, task.deadline = ready, deadline
        self._hand_over(task)
        task.ready = task.deadline = None
        return ready()

    def _check(self) -> None:
        if self.aborted:
            raise Abandoned

    def _hand_over(self, task: Task) -> None:
        following = None if self.aborted else self._choose()
        if following is None and not self.aborted and not self._all_done():
            where = self._where_all_are()
            self.failure = self.failure or Stuck(f"everybody waits for ever\n{where}")
            self.aborted = True
        if self.aborted:
            self._unwind(task)
        elif following is not None and following is not task:
            following.turn.release()
            if not task.done:
                self._await_turn(task)

    def _await_turn(self, task: Task) -> None:
        if not task.turn.acquire(timeout=HANDOVER_SECONDS):
            raise AssertionError(f"{task.name}: the turn never came")
        self._check()

    def _unwind(self, task: Task) -> None:
        """End all, each in its own thread, one after the other."""
        if not task.done:
            raise Abandoned
        left = next((other for other in self._tasks if not other.done), None)
        if left is not None:
            left.turn.release()

    def _all_done(self) -> bool:
        return all(task.done for task in self._tasks)

    def _choose(self) -> Task | None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            where = self._where_all_are()
            self.failure = self.failure or AssertionError(f"the run does not end\n{where}")
            return None
        if self._time_passes and self.rng.random() < self._time_passes:
            self._pass_time(_SOON_SECONDS)
        able = self._able()
        while not able:
            if not self._pass_time(math.inf):
                return None
            able = self._able()
        # One that nobody prefers must come to its turn in the end: others may loop until it has.
        is_preferred = self._prefers and self._steps < _MOST_STEPS // 2
        chosen = self._preferred(able) if is_preferred else self.rng.choice(able)
        self.order.update(b"%d" % chosen.number)
        return chosen

    def _preferred(self, able: list[Task]) -> Task:
        chosen = max(able, key=lambda task: task.preference)
        if self.rng.random() < _CHANGE_OF_MIND:
            chosen.preference = self.rng.random()
        return chosen

    def _able(self) -> list[Task]:
        return [task for task in self._tasks if not task.done and self._can_go_on(task)]

    def _can_go_on(self, task: Task) -> bool:
        if task.ready is None or task.ready():
            return True
        return task.deadline is not None and task.deadline <= self.now

    def _pass_time(self, most: float) -> bool:
        """Go to the next moment that somebody waits for; False where there is none in ``most``."""
        moments = [
            task.deadline for task in self._tasks if not task.done and task.deadline is not None
        ]
        later = [moment for moment in moments if self.now < moment <= self.now + most]
        if not later:
            return False
        self.now = min(later)
        return True

    def _trace(self, frame: FrameType, event: str, _arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        if event == "line" and self.rng.random() < self._preemption:
            self.turn()
        return self._trace

    def _where_all_are(self) -> str:
        told = []
        for ident, frame in sys._current_frames().items():
            task = self.idents.get(ident)
            if task is not None and not task.done:
                ours = [line for line in traceback.format_stack(frame) if _OURS in line]
                told.append(f"{task.name}:\n{''.join(ours[-4:])}")
        return "\n".join(told)
