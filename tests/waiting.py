"""Waiting for a condition, with a deadline: no test sleeps for a guess."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

WAIT_SECONDS = 10.0
_SHARE = 0.05
"""How much longer a wait may take than it must: to look all the time keeps others from working."""
_LONGEST_PAUSE_SECONDS = 0.1


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], str] = "the condition",
    timeout: float = WAIT_SECONDS,
    *,
    every: float = 0.005,
) -> None:
    """Wait for ``condition`` to be true; fails the test after ``timeout`` seconds.

    ``what`` can be a function, to tell of the moment of the failure. ``every`` is in seconds; more
    where looking takes time from those that are waited for. It is looked less often the longer the
    wait has lasted.
    """
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        if waited > timeout:
            pytest.fail(f"waited {timeout} s for {what if isinstance(what, str) else what()}")
        threading.Event().wait(max(every, min(waited * _SHARE, _LONGEST_PAUSE_SECONDS)))
