"""Who sends events to a journal, and sees what becomes of them."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from lambda_builder.errors import Refused
from lambda_builder.journal import Journal
from tests.journals import make_request

SENDERS = 4


class Senders:
    """Send events one after the other, each once, until the end; see what becomes of them."""

    def __init__(self, journal: Journal, *, first: int = 1000) -> None:
        """The events' numbers begin with ``first``."""
        self.accepted: dict[int, float] = {}
        """When each was, on the monotonic clock."""
        self.refused: set[int] = set()
        self.longest = 0.0
        """Seconds until an answer."""
        self._journal = journal
        self._numbers = itertools.count(first)
        self._lock = threading.Lock()
        self._over = threading.Event()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Send meanwhile."""
        with ThreadPoolExecutor(SENDERS) as pool:
            sent = [pool.submit(self._send) for _ in range(SENDERS)]
            try:
                yield
            finally:
                self._over.set()
            for each in sent:
                each.result()

    def _send(self) -> None:
        while not self._over.wait(0.01):
            with self._lock:
                number = next(self._numbers)
            started = time.monotonic()
            try:
                assert self._journal.record([make_request(number)]) == {}
            except Refused:
                self.refused.add(number)
            else:
                self.accepted[number] = time.monotonic()
            self.longest = max(self.longest, time.monotonic() - started)
