"""ResultStore: what became of each build, by event, Job name and correlation ID.

A build that waits is held until it ends, one whose Job exists as long as there is room; only ended
ones live in the cache that forgets in time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.multimap import Multimap
from lambda_builder.ordered import Ordered
from lambda_builder.pipeline.packing import (
    Kept,
    Key,
    key_digest,
    key_of,
    pack,
    place_of_kept,
    searched_together,
    unpack,
)
from lambda_builder.selection import Place, place_of

_WITHOUT_EVENT = (BuildState.SUCCEEDED, BuildState.CANCELLED)
"""States from which no build goes again: nobody needs its event any more."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A build with its number in the order it became known."""

    number: int
    kept: Kept
    until: float | None = None
    """When it is forgotten, once it has ended."""
    size: int = 0
    """The bytes it is counted with."""

    @property
    def result(self) -> BuildResult:
        """The build."""
        return unpack(self.kept)

    @property
    def place(self) -> Place:
        """What it is listed by."""
        return place_of_kept(self.kept)


class ResultStore:
    """Builds by event hash, indexed by Job name and correlation ID; thread-safe, one lock.

    ``ttl_seconds`` runs from a build's end. Beyond ``maximum`` ended builds the oldest goes, and
    likewise of those that have a Job: any replica finds them by that. Those that do not wait any
    more take ``max_bytes`` at most: beyond, the oldest lose first their events, then go whole.
    A search puts together a text of what it looks at, which is kept for the next and not counted.
    """

    def __init__(
        self,
        *,
        ttl_seconds: float,
        maximum: int,
        max_bytes: int = sys.maxsize,
        changed: Callable[[BuildResult], object] = lambda _: None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """``changed`` is told of every change, under the lock: it must call nothing of this."""
        self._changed = changed
        self._ttl, self._timer = ttl_seconds, timer
        self._maximum, self._max_bytes = maximum, max_bytes
        self._bytes = 0
        self._with_event: OrderedDict[Key, _Entry] = OrderedDict()
        """Those that do not wait and still have their events, the oldest first."""
        self._lock = threading.Lock()
        self._entries: dict[Key, _Entry] = {}
        self._listed: Ordered[_Entry] = Ordered(attrgetter("place"), _texts)
        """All of them too."""
        self._with_job: OrderedDict[Key, None] = OrderedDict()
        self._ended: deque[_Entry] = deque()
        """The next to be forgotten first; what went on since then is there in vain."""
        self._ended_until: deque[float] = deque()
        """When each of these is forgotten."""
        self._ended_count = 0
        self._index: Multimap[str, Key] = Multimap()
        self._number = 0

    def put(self, result: BuildResult) -> None:
        """Remember the present state of a build, new or known."""
        key = key_of(result.request.event_hash)
        with self._lock:
            entry = self._get(key)
            if entry is None:
                self._insert(key, result)
            else:
                self._update(key, entry, result)

    def add(self, result: BuildResult) -> bool:
        """Remember a build that is new; False, and nothing changes, where its event is known."""
        key = key_of(result.request.event_hash)
        with self._lock:
            if self._get(key) is not None:
                return False
            self._insert(key, result)
            return True

    def change(
        self, event_hash: str, change: Callable[[BuildResult], BuildResult]
    ) -> BuildResult | None:
        """Replace a build by ``change`` of it, at once for all readers; None where unknown.

        ``change`` runs under the lock: it must be quick and call nothing of the store.
        """
        key = key_of(event_hash)
        with self._lock:
            entry = self._get(key)
            if entry is None:
                return None
            result = entry.result
            changed = change(result)
            if changed is not result:
                self._update(key, entry, changed)
            return changed

    def remember(self, results: Iterable[tuple[float, BuildResult]]) -> None:
        """Take over builds that ended in an earlier process, each with its age in seconds.

        Before any other of them, and the oldest first: their time runs from their ends.
        """
        with self._lock:
            for age, result in results:
                self._insert(key_of(result.request.event_hash), result, age)
            self._expire()

    def discard(self, event_hash: str) -> None:
        """Forget a build that was in the end not accepted."""
        key = key_of(event_hash)
        with self._lock:
            if key in self._entries:
                self._forget(key)

    def by_event(self, event_hash: str) -> BuildResult | None:
        """Return the build of an event."""
        with self._lock:
            entry = self._get(key_of(event_hash))
            return entry.result if entry else None

    def by_id(self, build_id: str) -> list[BuildResult]:
        """Return the builds with this Job name or correlation ID, newest first."""
        with self._lock:
            self._expire()
            found = [self._entries[key] for key in self._index.of(build_id)]
            found.sort(key=_number, reverse=True)
            return [entry.result for entry in found]

    def with_job(self) -> list[BuildResult]:
        """Return the builds whose Jobs have not ended, as far as is known."""
        with self._lock:
            return [self._entries[key].result for key in self._with_job]

    @property
    def last_number(self) -> int:
        """The number of the newest build; each that becomes known has a higher one."""
        with self._lock:
            return self._number

    def number_of(self, event_hash: str) -> int | None:
        """Return the number of an event's build."""
        with self._lock:
            entry = self._get(key_of(event_hash))
            return entry.number if entry else None

    def all(self) -> list[BuildResult]:
        """Return the builds known at this moment, in the order in which they became known."""
        with self._lock:
            self._expire()
            return [entry.result for entry in self._entries.values()]

    def before(
        self, place: Place | None, most: int, having: Sequence[str]
    ) -> tuple[list[Kept], Place | None]:
        """Return builds next before that place, or the newest, as ``Ordered.before`` does.

        As they are kept: few of those that are looked through are told of.
        """
        with self._lock:
            self._expire()
            entries, rest = self._listed.before(place, most, having)
            return [entry.kept for entry in entries], rest

    def knows(self, job: Place) -> bool:
        """Whether the build of a Job, which is listed at that place, is known, be it at another."""
        _, name, event_hash = job
        with self._lock:
            self._expire()
            return any(key_digest(key) == event_hash for key in self._index.of(name))

    def sweep(self) -> None:
        """Free what has expired, with every index entry to it."""
        with self._lock:
            self._expire()

    @property
    def ended_count(self) -> int:
        """Builds held with an outcome."""
        with self._lock:
            self._expire()
            return self._ended_count + len(self._with_job)

    # -- with the lock held --------------------------------------------------------------------

    def _get(self, key: Key) -> _Entry | None:
        self._expire()
        return self._entries.get(key)

    def _insert(self, key: Key, result: BuildResult, age: float = 0.0) -> None:
        if key in self._entries:
            self._forget(key)
        self._number += 1
        entry = _Entry(self._number, result)
        for build_id in _ids(result):
            self._index.add(build_id, key)
        self._entries[key] = entry
        self._listed.put(entry)
        self._hold(key, entry, result, age)
        self._changed(result)

    def _update(self, key: Key, entry: _Entry, result: BuildResult) -> None:
        old, old_place = entry.result, entry.place
        if result.request is not old.request:
            self._uncount(key, entry)
        before, after = _ids(old), _ids(result)
        if before != after:
            for build_id in before - after:
                self._index.remove(build_id, key)
            for build_id in after - before:
                self._index.add(build_id, key)
        place = place_of(result)
        if place != old_place:
            self._listed.remove(old_place)
            entry.kept = result
            self._listed.put(entry)
        elif _found_by(result) != _found_by(old):
            self._listed.changed(place)
        entry.kept = result
        self._hold(key, entry, result)
        self._changed(result)

    def _hold(self, key: Key, entry: _Entry, result: BuildResult, age: float = 0.0) -> None:
        """Let the build be where one in its state belongs."""
        state = result.state
        if not state.final and entry.until is not None:
            entry.until = None
            self._ended_count -= 1
        if state.waits:
            self._with_job.pop(key, None)
            self._uncount(key, entry)
            return
        if not state.final:
            self._with_job.setdefault(key)
        elif entry.until is None:
            self._with_job.pop(key, None)
            entry.until = self._timer() - age + self._ttl
            self._ended.append(entry)
            self._ended_until.append(entry.until)
            self._ended_count += 1
        if state in _WITHOUT_EVENT and result.request.event:
            self._drop_event(key, entry)
        else:
            if not entry.size:
                self._count(key, entry)
            if state.final:
                entry.kept = pack(key, result)
        self._make_room()

    def _drop_event(self, key: Key, entry: _Entry) -> None:
        self._uncount(key, entry)
        result = entry.result
        entry.kept = result.but(request=result.request.without_event())
        self._count(key, entry)
        if result.state.final:
            entry.kept = pack(key, entry.kept)

    def _count(self, key: Key, entry: _Entry) -> None:
        request = entry.result.request
        if request.event:
            self._with_event[key] = entry
        entry.size = request.id_bytes + request.event_bytes
        self._bytes += entry.size

    def _uncount(self, key: Key, entry: _Entry) -> None:
        self._with_event.pop(key, None)
        self._bytes -= entry.size
        entry.size = 0

    def _expire(self) -> None:
        until = self._ended_until
        while until and (until[0] <= self._timer() or self._ended[0].until != until[0]):
            self._forget_oldest()

    def _make_room(self) -> None:
        while len(self._with_job) > self._maximum:
            self._forget(next(iter(self._with_job)))
        while self._ended_count > self._maximum:
            self._forget_oldest()
        while self._bytes > self._max_bytes and self._with_event:
            self._drop_event(*next(iter(self._with_event.items())))
        # What has a Job is found by that.
        while self._bytes > self._max_bytes and self._with_job:
            self._forget(next(iter(self._with_job)))
        while self._bytes > self._max_bytes and self._ended:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        entry = self._ended.popleft()
        if entry.until == self._ended_until.popleft():
            self._forget(key_of(entry.result.request.event_hash))

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key)
        self._with_job.pop(key, None)
        if entry.until is not None:
            entry.until = None
            self._ended_count -= 1
        self._uncount(key, entry)
        self._listed.remove(entry.place)
        for build_id in _ids(entry.result):
            self._index.remove(build_id, key)


_found_by = attrgetter("error", "image", "job_uid")
"""What of a build's texts may change."""


def _ids(result: BuildResult) -> frozenset[str]:
    """What it is found by: a build that was skipped only by its own, not by another's Job."""
    request = result.request
    return frozenset((request.correlation_id,)) if result.skipped else request.ids


def _texts(entries: Sequence[_Entry]) -> str:
    return searched_together(entry.kept for entry in entries)


def _number(entry: _Entry) -> int:
    return entry.number
