"""Keeping the process on one core, the one that others use least.

One interpreter runs one thread at a time. Where its threads lie on several cores, each hand-over of
the interpreter wakes another core and moves what the first had in its caches, and threads wake to
find it taken: a third of the processor's time from an event to the end of its Job, see
docs/performance.rst. On one core the scheduler hands over instead. So that the process does not
wait for a neighbour there while other cores are idle, it moves to another core where that is so.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from lambda_builder.threads import repeating

LOOK_SECONDS = 2.0
"""What others use of a core is taken over so long."""
WORTH_MOVING = 0.25
"""How much less of another core others must use, as a share of it."""


class Used(NamedTuple):
    """Seconds since some time in the past, the same at each look."""

    now: float
    own: float
    """What this process has used of the processor."""
    by_core: Mapping[int, float]
    """What each core has worked, for anybody; empty where the system does not tell."""


class System(Protocol):
    """What the operating system tells of its cores, and where it lets threads run."""

    def allowed(self) -> set[int]:
        """Return the cores that this process was given."""

    def used(self) -> Used:
        """Return what was used until now."""

    def keep_on(self, core: int) -> None:
        """Let the process's threads run on one core only, all but the calling one."""


class OneCore:
    """Keeps this process on one core, by a thread of its own, which has all that it was given."""

    def __init__(self, system: System, rng: random.Random | None = None) -> None:
        """``rng`` has several processes that meet on one core not leave it all at once."""
        self._system = system
        self._rng = rng or random.Random()  # noqa: S311 - not a secret
        self._before: Used | None = None
        self._core: int | None = None
        self._background = repeating("cpu-affinity", LOOK_SECONDS, self.look, at_once=True)

    def start(self) -> None:
        """Begin; harmless twice. The first look only takes note."""
        self._background.start()

    def look(self) -> None:
        """Choose a core by what was used since the last look; ends all this where it may not."""
        try:
            self._look()
        except OSError as error:
            structlog.get_logger().info("cpu_affinity_off", error=str(error))
            self._background.ask_to_stop()

    def _look(self) -> None:
        allowed, now = self._system.allowed(), self._system.used()
        before, self._before = self._before, now
        if (
            before is None
            or not allowed
            or not allowed <= now.by_core.keys() & before.by_core.keys()
        ):
            return
        seconds = now.now - before.now
        others = {core: (now.by_core[core] - before.by_core[core]) / seconds for core in allowed}
        if self._core in others:
            others[self._core] -= (now.own - before.own) / seconds
        core = self._choose(others)
        before_it, self._core = self._core, core
        self._system.keep_on(core)
        if len(allowed) > 1:
            if before_it is None:
                structlog.get_logger().info("cpu_affinity", core=core)
            elif core != before_it:
                structlog.get_logger().debug("cpu_affinity", core=core)

    def _choose(self, used_by_others: Mapping[int, float]) -> int:
        least = min(used_by_others.values())
        idle = [core for core, used in used_by_others.items() if used - least < WORTH_MOVING]
        stays = self._core in used_by_others and self._rng.random() < 0.5
        if self._core is not None and (self._core in idle or stays):
            return self._core
        return self._rng.choice(idle)


class Linux:
    """What Linux tells in /proc, see proc(5), and sched_setaffinity(2)."""

    @classmethod
    def if_here(cls) -> Linux | None:
        """Return it where the process runs on it."""
        return cls() if hasattr(os, "sched_setaffinity") else None

    def allowed(self) -> set[int]:
        """Return the calling thread's cores: the kernel takes from them what a cpuset loses."""
        return os.sched_getaffinity(0)

    def used(self) -> Used:
        """Return what was used since the system and the process began."""
        try:
            lines = Path("/proc/stat").read_text("ascii").splitlines()
        except OSError:
            lines = []
        tick, by_core = os.sysconf("SC_CLK_TCK"), {}
        for name, *fields in (line.split() for line in lines if line.startswith("cpu")):
            if name != "cpu":
                # User, nice and system, then interrupts and what was stolen; not idle and waiting.
                worked = sum(map(int, fields[:3] + fields[5:8]))
                by_core[int(name.removeprefix("cpu"))] = worked / tick
        return Used(time.monotonic(), time.process_time(), by_core)

    def keep_on(self, core: int) -> None:
        """Move the threads there are; those that they start begin where they are."""
        for thread in map(int, os.listdir("/proc/self/task")):
            if thread != threading.get_native_id():
                try:
                    if os.sched_getaffinity(thread) != {core}:
                        os.sched_setaffinity(thread, {core})
                except OSError as error:
                    # It has ended, or the core has just been taken away: the next look sees.
                    if error.errno not in (errno.ESRCH, errno.EINVAL):
                        raise
