"""What stands in for ``threading`` and ``time`` while a scheduler chooses whose turn it is."""

from __future__ import annotations

import concurrent.futures._base
import functools
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tests.races.scheduler import Scheduler, Task

_OTHERS = (queue, concurrent.futures._base)


class Lock:
    """``threading.Lock``."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._scheduler.turn()
        if self._held and blocking:
            self._scheduler.wait(lambda: not self._held, None if timeout < 0 else timeout)
        if self._held:
            return False
        self._held = True
        return True

    def release(self) -> None:
        self._held = False
        if not self._scheduler.aborted:
            self._scheduler.turn()

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock(Lock):
    """``threading.RLock``."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self._owner: Task | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._owner is None or self._owner is not self._scheduler.current:
            if not super().acquire(blocking, timeout):
                return False
            self._owner = self._scheduler.current
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            super().release()


class Condition:
    """``threading.Condition``: those that wait are woken in the order they came."""

    def __init__(self, scheduler: Scheduler, lock: Lock | None = None) -> None:
        self._scheduler = scheduler
        self._lock = lock or RLock(scheduler)
        self._waiting: list[list[bool]] = []
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        self._must_be_held()
        woken = [False]
        self._waiting.append(woken)
        self._lock.release()
        try:
            self._scheduler.wait(lambda: woken[0], timeout)
        finally:
            self._waiting = [other for other in self._waiting if other is not woken]
            if not self._scheduler.aborted:
                self._lock.acquire()
        return woken[0]

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        deadline = None if timeout is None else self._scheduler.now + timeout
        while not (result := predicate()):
            left = None if deadline is None else deadline - self._scheduler.now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        self._must_be_held()
        woken, self._waiting = self._waiting[:n], self._waiting[n:]
        for each in woken:
            each[0] = True

    def notify_all(self) -> None:
        self.notify(len(self._waiting))

    def _must_be_held(self) -> None:
        if not self._lock.locked() and not self._scheduler.aborted:
            raise RuntimeError("the condition's lock is not held")


class Event:
    """``threading.Event``."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if not self._scheduler.aborted:
            self._scheduler.turn()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.wait(self.is_set, timeout)


class Thread(threading.Thread):
    """``threading.Thread``; its number is its hash, so that sets of threads have one order."""

    def __init__(self, scheduler: Scheduler, **how: Any) -> None:
        self._number = next(scheduler.numbers)
        self._scheduler = scheduler
        self.task: Task | None = None
        super().__init__(**{**how, "daemon": True})

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other

    def start(self) -> None:
        self._scheduler.turn()
        self.task = self._scheduler.adopt(self.name)
        super().start()
        self._scheduler.turn()

    def run(self) -> None:
        self._scheduler.run_as(self.task, super().run)

    def join(self, timeout: float | None = None) -> None:
        if self.task is not None and self._scheduler.current is not None:
            self._scheduler.wait(lambda: self.task.done, timeout)

    def is_alive(self) -> bool:
        return self.task is not None and not self.task.done


class _Instead:
    """A module with some of its names replaced."""

    def __init__(self, module: Any, **names: Any) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextmanager
def replaced(scheduler: Scheduler) -> Iterator[None]:
    """Have the service's modules lock, wait and read the time by ``scheduler``."""

    def bound(kind: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: kind(scheduler, *args, **named)

    instead = {
        threading: _Instead(
            threading,
            Lock=bound(Lock),
            RLock=bound(RLock),
            Condition=bound(Condition),
            Event=bound(Event),
            Thread=bound(Thread),
        ),
        time: _Instead(
            time,
            monotonic=lambda: scheduler.now,
            time=lambda: scheduler.wall + scheduler.now,
        ),
    }
    slots = _slots()
    for module, name, value in slots:
        setattr(module, name, instead[value])
    try:
        yield
    finally:
        for module, name, value in slots:
            setattr(module, name, value)


@functools.cache
def _slots() -> list[tuple[ModuleType, str, ModuleType]]:
    """Return where the modules have ``threading`` and ``time``."""
    modules = [m for name, m in sys.modules.items() if name.startswith("lambda_builder.")]
    return [
        (module, name, value)
        for module in [*modules, *_OTHERS]
        for name, value in vars(module).items()
        if value is threading or value is time
    ]
