"""ResultStore: what became of each build, by event, Job name and correlation ID.

A build that waits is held until it ends, one whose Job exists as long as there is room; only ended
ones live in the cache that forgets in time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from lambda_builder.builds import BuildResult, digest_bytes
from lambda_builder.multimap import Multimap
from lambda_builder.ordered import Ordered
from lambda_builder.pipeline.forgetting import Ended
from lambda_builder.selection import SEPARATOR, Place, place_of, searched


@dataclass(slots=True, eq=False)
class HeldBuild:
    """A build with its number in the order it became known, and what it is listed by."""

    number: int
    result: BuildResult
    place: Place
    text: str
    """What a search looks at; to put it together each time takes longer than all else."""
    size: int = 0
    """The bytes it is counted with."""

    @property
    def ids(self) -> frozenset[str]:
        """What it is found by: a build that was skipped only by its own, not by another's Job."""
        request = self.result.request
        return frozenset((request.correlation_id,)) if self.result.skipped else request.ids


class ResultStore:
    """Builds by event hash, indexed by Job name and correlation ID; thread-safe, one lock.

    ``ttl_seconds`` runs from a build's end. Beyond ``maximum`` ended builds the oldest goes, and
    likewise of those that have a Job: any replica finds them by that. Those that do not wait any
    more take ``max_bytes`` at most: beyond, the oldest lose first their events, then go whole.
    What their ids take a second time, to be searched, is not counted.
    """

    def __init__(
        self,
        *,
        ttl_seconds: float,
        maximum: int,
        max_bytes: int = sys.maxsize,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._maximum, self._max_bytes = maximum, max_bytes
        self._bytes = 0
        self._with_event: OrderedDict[str, HeldBuild] = OrderedDict()
        """Those that do not wait and still have their events, the oldest first."""
        self._lock = threading.Lock()
        self._entries: dict[str, HeldBuild] = {}
        """All of them; of those that do not wait any more the caches say which go, and when."""
        self._listed: Ordered[HeldBuild] = Ordered(attrgetter("place"), _texts)
        """All of them too."""
        self._with_job: OrderedDict[str, None] = OrderedDict()
        self._age = 0.0
        self._ended = Ended(maximum, ttl_seconds, lambda: timer() - self._age, self._let_go)
        self._index: Multimap[str] = Multimap()
        self._number = 0

    def put(self, result: BuildResult) -> None:
        """Remember the present state of a build, new or known."""
        key = result.request.event_hash
        with self._lock:
            known = self._pop(key)
            if known is None:
                self._number += 1
            self._insert(key, known.number if known else self._number, result)

    def add(self, result: BuildResult) -> bool:
        """Remember a build that is new; False, and nothing changes, where its event is known."""
        key = result.request.event_hash
        with self._lock:
            if self._get(key) is not None:
                return False
            self._number += 1
            self._insert(key, self._number, result)
            return True

    def change(self, key: str, change: Callable[[BuildResult], BuildResult]) -> BuildResult | None:
        """Replace a build by ``change`` of it, at once for all readers; None where unknown.

        ``change`` runs under the lock: it must be quick and call nothing of the store.
        """
        with self._lock:
            known = self._get(key)
            if known is None:
                return None
            changed = change(known.result)
            if changed is not known.result:
                self._pop(key)
                self._insert(key, known.number, changed)
            return changed

    def remember(self, results: Iterable[tuple[float, BuildResult]]) -> None:
        """Take over builds that ended in an earlier process, each with its age in seconds.

        Before any other of them, and the oldest first: their time runs from their ends.
        """
        with self._lock:
            for self._age, result in results:
                self._number += 1
                self._insert(result.request.event_hash, self._number, result)
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
            return entry.result if entry else None

    def by_id(self, build_id: str) -> list[BuildResult]:
        """Return the builds with this Job name or correlation ID, newest first."""
        with self._lock:
            found = [self._get(key) for key in self._index.of(build_id)]
        known = sorted((entry for entry in found if entry), key=_number, reverse=True)
        return [entry.result for entry in known]

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
            entry = self._get(event_hash)
            return entry.number if entry else None

    def all(self) -> list[BuildResult]:
        """Return the builds known at this moment, in the order of their last changes."""
        with self._lock:
            self._ended.expire()
            entries = list(self._entries.values())
        return [entry.result for entry in entries]

    def before(
        self, place: Place | None, most: int, having: Sequence[str]
    ) -> tuple[list[HeldBuild], Place | None]:
        """Return builds next before that place, or the newest, as ``Ordered.before`` does."""
        with self._lock:
            self._ended.expire()
            return self._listed.before(place, most, having)

    def knows(self, job: Place) -> bool:
        """Whether the build of a Job, which is listed at that place, is known, be it at another."""
        _, name, event_hash = job
        with self._lock:
            self._ended.expire()
            return any(digest_bytes(key) == event_hash for key in self._index.of(name))

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

    def _get(self, key: str) -> HeldBuild | None:
        self._ended.expire()
        return self._entries.get(key)

    def _pop(self, key: str) -> HeldBuild | None:
        self._ended.expire()  # else an expired entry would later take the new one's index along
        self._with_job.pop(key, None)
        self._ended.pop(key, None)
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._gone(key, entry)
        return entry

    def _insert(self, key: str, number: int, result: BuildResult) -> None:
        entry = HeldBuild(number, result, place_of(result), searched(result))
        for build_id in entry.ids:
            self._index.add(build_id, key)
        for build_id in result.request.ids - entry.ids:
            self._index.remove(build_id, key)
        self._entries[key] = entry
        self._listed.put(entry)
        if result.state.waits:
            return
        held = self._ended if result.state.final else self._with_job
        held[key] = None
        self._count(key, entry)
        self._make_room()

    def _count(self, key: str, entry: HeldBuild) -> None:
        request = entry.result.request
        if request.event:
            self._with_event[key] = entry
        entry.size = request.id_bytes + request.event_bytes
        self._bytes += entry.size

    def _uncount(self, key: str, entry: HeldBuild) -> None:
        self._with_event.pop(key, None)
        self._bytes -= entry.size

    def _make_room(self) -> None:
        while len(self._with_job) > self._maximum:
            self._let_go_of_a_job()
        while self._bytes > self._max_bytes and self._with_event:
            key, entry = self._with_event.popitem(last=False)
            self._uncount(key, entry)
            entry.result = entry.result.but(request=entry.result.request.without_event())
            self._count(key, entry)
        # What has a Job is found by that.
        while self._bytes > self._max_bytes and self._with_job:
            self._let_go_of_a_job()
        while self._bytes > self._max_bytes and self._ended:
            self._ended.popitem()

    def _let_go_of_a_job(self) -> None:
        key, _ = self._with_job.popitem(last=False)
        self._let_go(key)

    def _let_go(self, key: str) -> None:
        entry = self._entries.pop(key)
        self._gone(key, entry)
        self._unindex(entry)

    def _gone(self, key: str, entry: HeldBuild) -> None:
        self._uncount(key, entry)
        self._listed.remove(entry.place)

    def _unindex(self, entry: HeldBuild) -> None:
        request = entry.result.request
        for build_id in entry.ids:
            self._index.remove(build_id, request.event_hash)


def _texts(entries: Sequence[HeldBuild]) -> str:
    return SEPARATOR.join([entry.text for entry in entries])


def _number(entry: HeldBuild) -> int:
    return entry.number
