"""WorkerPool: daemon threads that take entries from a queue and hand each to a callable.

Knows no Kubernetes. A panic costs one entry, a dead thread is replaced and its entry handed over,
and the pool grows only while work is being finished, however long each piece takes.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Generic, TypeVar

import structlog

from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from lambda_builder.threads import Background, join_all

T = TypeVar("T")

TICK_SECONDS = 0.25
"""How often the supervisor looks after the threads."""
IDLE_SECONDS = 30.0
"""How long a worker beyond the minimum stays without work."""
DEEP_TICKS = 2
"""Looks in a row that must find the queue deep before a worker is added."""
_USUAL_SHARE = 0.3
"""How much the last run counts in what a run usually takes."""
_WINDOW_RUNS = 2.0
"""A finished run speaks for growth as long as so many runs take."""


class WorkerDied(Exception):
    """A worker thread ended while it held an entry."""


class _Progress:
    """Runs that were finished lately: each pays for one more worker; thread-safe.

    Where calls hang nothing is finished, and more threads would only hang more calls. Runs may end
    all at once, so that a look between two such moments sees none: how long a finished run counts
    follows what a run takes.
    """

    def __init__(self, tick_seconds: float) -> None:
        self._tick_seconds = tick_seconds
        self._lock = threading.Lock()
        self._usual = 0.0
        self._ends: deque[float] = deque(maxlen=1000)

    def finished(self, began: float, ended: float) -> None:
        """Note a run, by its beginning and end on the monotonic clock."""
        with self._lock:
            took = ended - began
            self._usual += (took - self._usual) * (_USUAL_SHARE if self._usual else 1.0)
            self._ends.append(ended)

    def pays(self, now: float) -> bool:
        """Use one run up, if there is one."""
        with self._lock:
            window = max(DEEP_TICKS * self._tick_seconds, _WINDOW_RUNS * self._usual)
            while self._ends and self._ends[0] < now - window:
                self._ends.popleft()
            if not self._ends:
                return False
            self._ends.popleft()
            return True


class WorkerPool(Generic[T]):
    """Threads that work off a queue; every method is thread-safe.

    ``run`` gets each entry and must finish it or give it back; it returns whether that went well,
    which lets the pool grow. ``panicked`` gets the entry whose
    ``run`` raised, or whose thread died (then with ``WorkerDied``). ``may_take`` is called before
    an entry is taken; it may block until its event is set, and returns False to end the worker.
    """

    def __init__(
        self,
        queue: BuildQueue[T],
        run: Callable[[Entry[T]], bool],
        panicked: Callable[[Entry[T], BaseException], None],
        *,
        minimum: int,
        maximum: int,
        may_take: Callable[[threading.Event], bool],
        idle_seconds: float = IDLE_SECONDS,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self._queue = queue
        self._run = run
        self._panicked = panicked
        self._may_take = may_take
        self._minimum, self._maximum = minimum, max(minimum, maximum)
        self._idle_seconds, self._tick_seconds = idle_seconds, tick_seconds
        self._supervisor = Background("pool", self._supervise)
        self._stopping = self._supervisor.stopping
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._numbers = itertools.count(1)
        self._started = False
        self._progress = _Progress(tick_seconds)

    def start(self) -> None:
        """Start the threads. Harmless twice; does nothing after ``stop``."""
        with self._lock:
            if self._started or self._stopping.is_set():
                return
            self._started = True
            self._fill()
        self._supervisor.start()

    def stop(self, timeout: float) -> list[str]:
        """End the threads once each has finished what it holds; close or halt the queue first.

        Harmless twice, or before ``start``. Returns the names of threads still alive after
        ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        self._stopping.set()
        with self._lock:
            threads = list(self._threads)
        alive = join_all(threads, timeout)
        return alive + self._supervisor.stop(max(0.0, deadline - time.monotonic()))

    def resize(self, minimum: int, maximum: int) -> None:
        """Change the bounds; surplus workers leave when they are idle."""
        with self._lock:
            self._minimum, self._maximum = minimum, max(minimum, maximum)
            if self._started and not self._stopping.is_set():
                self._fill()

    @property
    def size(self) -> int:
        """Live workers."""
        with self._lock:
            return sum(thread.is_alive() for thread in self._threads)

    @property
    def bounds(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        with self._lock:
            return self._minimum, self._maximum

    # -- workers -------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while self._step():
                pass
        except BaseException:  # noqa: BLE001
            # Nothing may kill a worker unseen; the supervisor replaces it and saves its entry.
            structlog.get_logger().critical("worker_died", exc_info=True)

    def _step(self) -> bool:
        if self._stopping.is_set() or not self._may_take(self._stopping):
            return False
        try:
            entry = self._queue.get(timeout=self._idle_seconds)
        except Empty:
            return not self._leave()
        except QueueClosed:
            self._stopping.set()  # nothing comes any more: nobody to replace
            return False
        began = time.monotonic()
        try:
            if self._run(entry):
                self._progress.finished(began, time.monotonic())
        except Exception as error:  # noqa: BLE001 - one bad entry harms only itself
            self._panicked(entry, error)
        return True

    def _leave(self) -> bool:
        with self._lock:
            surplus = len(self._threads) > self._minimum
            if surplus:
                self._threads.discard(threading.current_thread())
            return surplus

    # -- the supervisor ------------------------------------------------------------------------

    def _supervise(self, stopping: threading.Event) -> None:
        deep = 0
        while not stopping.wait(self._tick_seconds):
            try:
                self._recover()
                deep = deep + 1 if self._queue.snapshot().waiting > self.size else 0
                if deep >= DEEP_TICKS and self._progress.pays(time.monotonic()):
                    self._grow()
            except Exception:  # noqa: BLE001 - the threads must be looked after again
                structlog.get_logger().exception("pool_supervision_failed")

    def _recover(self) -> None:
        for entry in self._queue.orphans():
            try:
                self._panicked(entry, WorkerDied(f"the worker thread that held {entry.key} died"))
            except Exception:  # noqa: BLE001 - it stays an orphan, and the others have their turn
                structlog.get_logger().exception("orphan_not_saved")
        with self._lock:
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            self._fill()

    def _grow(self) -> None:
        with self._lock:
            if len(self._threads) < self._maximum and not self._stopping.is_set():
                self._add()

    def _fill(self) -> None:
        while len(self._threads) < self._minimum and not self._stopping.is_set():
            self._add()

    def _add(self) -> None:
        thread = threading.Thread(
            target=self._work, name=f"build-{next(self._numbers)}", daemon=True
        )
        self._threads.add(thread)
        thread.start()
