"""ResultStore: what became of each build, by event, Job name and correlation ID.

A build that waits is held until it ends, one whose Job exists as long as there is room; only ended
ones live in the cache that forgets in time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cachetools import LRUCache, TTLCache

from lambda_builder.builds import BuildResult

_Entry = tuple[int, BuildResult]
"""A build with its number in the order it became known."""


class _Ended(TTLCache[str, _Entry]):
    """TTLCache that says which entries it lets go, so that no index outlives them."""

    def __init__(
        self, maxsize: int, ttl: float, timer: Callable[[], float], gone: Callable[[_Entry], None]
    ) -> None:
        super().__init__(maxsize, ttl, timer)
        self._gone = gone

    def expire(self, time: float | None = None) -> Any:
        expired = super().expire(time)
        for _key, entry in expired:
            self._gone(entry)
        return expired

    def popitem(self) -> tuple[str, _Entry]:
        key, entry = super().popitem()
        self._gone(entry)
        return key, entry


class _WithJob(LRUCache[str, _Entry]):
    """LRUCache that says which entries it lets go."""

    def __init__(self, maxsize: int, gone: Callable[[_Entry], None]) -> None:
        super().__init__(maxsize)
        self._gone = gone

    def popitem(self) -> tuple[str, _Entry]:
        key, entry = super().popitem()
        self._gone(entry)
        return key, entry


class _Index:
    """Keys by id. Nearly every id has one key, which costs no container of its own."""

    def __init__(self) -> None:
        self._keys: dict[str, str | dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, name: str) -> tuple[str, ...]:
        keys = self._keys.get(name, ())
        return (keys,) if isinstance(keys, str) else tuple(keys)

    def add(self, name: str, key: str) -> None:
        keys = self._keys.setdefault(name, key)
        if not isinstance(keys, str):
            keys[key] = None
        elif keys != key:
            self._keys[name] = {keys: None, key: None}

    def remove(self, name: str, key: str) -> None:
        keys = self._keys.get(name)
        if isinstance(keys, dict):
            keys.pop(key, None)
        if not keys or keys == key:
            self._keys.pop(name, None)


class ResultStore:
    """Builds by event hash, indexed by Job name and correlation ID; thread-safe, one lock.

    ``ttl_seconds`` runs from a build's end. Beyond ``maximum`` ended builds the oldest goes, and
    likewise of those that have a Job: any replica finds them by that.
    """

    def __init__(
        self, *, ttl_seconds: float, maximum: int, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, _Entry] = {}
        self._with_job = _WithJob(maximum, self._unindex)
        self._age = 0.0
        self._ended = _Ended(maximum, ttl_seconds, lambda: timer() - self._age, self._unindex)
        self._index = _Index()
        self._number = 0

    def put(self, result: BuildResult) -> None:
        """Remember the present state of a build, new or known."""
        key = result.request.event_hash
        with self._lock:
            known = self._pop(key)
            if known is None:
                self._number += 1
            self._insert(key, (known[0] if known else self._number, result))

    def change(self, key: str, change: Callable[[BuildResult], BuildResult]) -> BuildResult | None:
        """Replace a build by ``change`` of it, at once for all readers; None where unknown.

        ``change`` runs under the lock: it must be quick and call nothing of the store.
        """
        with self._lock:
            known = self._get(key)
            if known is None:
                return None
            changed = change(known[1])
            if changed is not known[1]:
                self._pop(key)
                self._insert(key, (known[0], changed))
            return changed

    def remember(self, results: Iterable[tuple[float, BuildResult]]) -> None:
        """Take over builds that ended in an earlier process, each with its age in seconds.

        Before any other of them, and the oldest first: their time runs from their ends.
        """
        with self._lock:
            for self._age, result in results:
                self._number += 1
                self._insert(result.request.event_hash, (self._number, result))
            self._age = 0.0
            self._ended.expire()

    def discard(self, key: str) -> None:
        """Forget a build that was in the end not accepted."""
        with self._lock:
            entry = self._pop(key)
            if entry is not None:
                self._unindex(entry)

    def by_event(self, event_hash: str) -> BuildResult | None:
        """Return the build of an event."""
        with self._lock:
            entry = self._get(event_hash)
            return entry[1] if entry else None

    def by_id(self, build_id: str) -> list[BuildResult]:
        """Return the builds with this Job name or correlation ID, newest first."""
        with self._lock:
            found = [self._get(key) for key in self._index.of(build_id)]
        known = sorted((entry for entry in found if entry), key=_number, reverse=True)
        return [result for _, result in known]

    def newest(self, *, before: int | None = None) -> Iterator[tuple[int, BuildResult]]:
        """Iterate over (number, build), newest first, over the builds known at this moment."""
        with self._lock:
            self._ended.expire()
            entries: Iterable[_Entry] = [
                *self._active.values(),
                *self._with_job.values(),
                *self._ended.values(),
            ]
        kept = (entry for entry in entries if before is None or entry[0] < before)
        return iter(sorted(kept, key=_number, reverse=True))

    def sweep(self) -> None:
        """Free what has expired, with every index entry to it."""
        with self._lock:
            self._ended.expire()

    @property
    def ended_count(self) -> int:
        """Builds held with an outcome."""
        with self._lock:
            self._ended.expire()
            return len(self._ended) + len(self._with_job)

    # -- with the lock held --------------------------------------------------------------------

    def _get(self, key: str) -> _Entry | None:
        return self._active.get(key) or self._with_job.get(key) or self._ended.get(key)

    def _pop(self, key: str) -> _Entry | None:
        self._ended.expire()  # else an expired entry would later take the new one's index along
        entry = self._active.pop(key, None) or self._with_job.pop(key, None)
        return entry or self._ended.pop(key, None)

    def _insert(self, key: str, entry: _Entry) -> None:
        for build_id in entry[1].request.ids:
            self._index.add(build_id, key)
        if entry[1].state.waits:
            self._active[key] = entry
        elif entry[1].state.final:
            self._ended[key] = entry
        else:
            self._with_job[key] = entry

    def _unindex(self, entry: _Entry) -> None:
        request = entry[1].request
        for build_id in request.ids:
            self._index.remove(build_id, request.event_hash)


def _number(entry: _Entry) -> int:
    return entry[0]
