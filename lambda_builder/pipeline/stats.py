"""Counts: what happened so far, each number kept once; stats and metrics both read it here."""

from __future__ import annotations

import threading
from collections import Counter


class Counts:
    """Labelled counters behind one lock; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("retried", "rejected", "duplicates", "panics")
        }

    def add(self, name: str, label: str = "") -> None:
        """Count one of ``name``: ``retried`` by reason, ``rejected`` by code, and so on."""
        with self._lock:
            self._counts[name][label] += 1

    def snapshot(self) -> dict[str, Counter[str]]:
        """Return a copy of all counters from one instant."""
        with self._lock:
            return {name: Counter(counts) for name, counts in self._counts.items()}
