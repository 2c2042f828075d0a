"""Runs of a scenario, each in an order of its own."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.races.scheduler import HANDOVER_SECONDS, Scheduler
from tests.races.standins import Thread, replaced

Scenario = Callable[[Scheduler], object]
"""Runs in a thread of its own and ends all that it starts."""


def begun(scheduler: Scheduler, *actions: Callable[[], object]) -> list[Thread]:
    """Run ``actions`` in threads of their own."""
    threads = [Thread(scheduler, target=action, name=_name(action)) for action in actions]
    for thread in threads:
        thread.start()
    return threads


def together(scheduler: Scheduler, *actions: Callable[[], object]) -> None:
    """Run ``actions`` in threads of their own, and wait for all."""
    for thread in begun(scheduler, *actions):
        thread.join()


def _name(action: Callable[[], object]) -> str:
    return str(getattr(action, "__name__", action))


def run(scenario: Scenario, seed: int) -> Scheduler:
    """Run ``scenario`` in the order that ``seed`` gives; it must end all threads that it starts."""
    scheduler = Scheduler(seed)
    with replaced(scheduler), _nothing_collected():
        root = Thread(scheduler, target=scenario, args=(scheduler,), name="scenario")
        root.start()
        root.task.turn.release()
        for thread in threading.enumerate():
            if thread.ident in scheduler.idents:
                threading.Thread.join(thread, HANDOVER_SECONDS)
    return scheduler


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Have no thread end what other tests left behind in the middle of a turn.

    Such an end may run the service's code, with turns of its own: they came in whatever place the
    collector chose, and two threads would go on at once.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def explore(scenario: Scenario, orders: int) -> None:
    """Run ``scenario`` in so many orders; a failure says its seed.

    With ``RACES_SEED`` only that one.
    """
    wanted = os.environ.get("RACES_SEED")
    seeds = range(orders) if wanted is None else [int(wanted)]
    for seed in seeds:
        failure = run(scenario, seed).failure
        if failure is not None:
            version = ".".join(map(str, sys.version_info[:2]))
            failure.add_note(f"again with RACES_SEED={seed} on Python {version}")
            raise failure
