"""Waiting for a condition, with a deadline: no test sleeps for a guess."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

WAIT_SECONDS = 10.0


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], str] = "the condition",
    timeout: float = WAIT_SECONDS,
    *,
    every: float = 0.005,
) -> None:
    """Wait for ``condition`` to be true; fails the test after ``timeout`` seconds.

    ``what`` can be a function, to tell of the moment of the failure. ``every`` is in seconds; more
    where looking takes time from those that are waited for.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout} s for {what if isinstance(what, str) else what()}")
        threading.Event().wait(every)
