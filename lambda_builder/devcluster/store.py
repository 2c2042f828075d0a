"""Objects by name, their label indexes, one revision counter and a bounded history of changes.

Everything here runs on the server's own thread; others get at it through ``DevCluster``.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from lambda_builder.devcluster.objects import JOBS, RESOURCES, Obj, Resource
from lambda_builder.devcluster.selection import Selector
from lambda_builder.devcluster.statuses import expired

_rv = attrgetter("rv")
_EPOCH = 1_577_836_800_000  # 2020, in milliseconds


class Change:
    """One entry of the history: what a watch tells."""

    __slots__ = ("_line", "obj", "old", "type")

    def __init__(self, type: str, obj: Obj, old: Obj | None) -> None:
        self.type = type
        self.obj = obj
        self.old = old
        self._line = b""

    @property
    def rv(self) -> int:
        """The revision it made."""
        return self.obj.rv

    def line(self) -> bytes:
        """The watch event; encoded once however many watches tell it."""
        if not self._line:
            self._line = watch_line(self.type, self.obj)
        return self._line

    def forget_line(self) -> None:
        """Free the encoded event: only the newest is told to several."""
        self._line = b""


def watch_line(type: str, obj: Obj) -> bytes:
    """Return a watch event's line."""
    return b'{"type":"%s","object":%s}\n' % (type.encode(), obj.encode())


class Collection:
    """All objects of one resource, in the order of ``namespace/name`` as etcd keeps them."""

    def __init__(self, resource: Resource, history: int, rv: int) -> None:
        self.resource = resource
        self.objects: dict[str, Obj] = {}
        self.keys: list[str] = []
        self.history: list[Change] = []
        self.forgotten_rv = rv
        self.listeners: list[Callable[[Change], None]] = []
        self._history_limit = history
        # One name, or several as a dict: most label values belong to a single object.
        self._index: dict[tuple[str, str], str | dict[str, None]] = {}

    def get(self, namespace: str, name: str) -> Obj | None:
        """Return an object; None where there is none."""
        return self.objects.get(f"{namespace}/{name}")

    def put(self, obj: Obj) -> None:
        """Keep an object under its key, whose revision is its own already."""
        key = obj.key
        old = self.objects.get(key)
        if old is None:
            bisect.insort(self.keys, key)
        elif old.labels is not obj.labels:
            self._unindex(old, key)
        if old is None or old.labels is not obj.labels:
            self._index_all(obj, key)
        self.objects[key] = obj
        self._record(Change("MODIFIED" if old else "ADDED", obj, old))

    def remove(self, obj: Obj) -> None:
        """Take away what is stored under the key of ``obj``, whose revision the removal has."""
        key = obj.key
        self._unindex(self.objects.pop(key), key)
        del self.keys[bisect.bisect_left(self.keys, key)]
        self._record(Change("DELETED", obj, obj))

    def since(self, rv: int) -> list[Change]:
        """Changes after ``rv``; 410 where some of them are forgotten."""
        if rv < self.forgotten_rv:
            raise expired(f"too old resource version: {rv} ({self.forgotten_rv})")
        return self.history[bisect.bisect_right(self.history, rv, key=_rv) :]

    def select(self, namespace: str, selector: Selector, after: str = "") -> Iterator[Obj]:
        """Matching objects in key order, those after the key ``after`` only."""
        keys = self._candidates(namespace, selector, after)
        prefix = f"{namespace}/"
        for key in keys:
            if namespace and not key.startswith(prefix):
                continue
            obj = self.objects[key]
            if selector.empty or selector.matches(obj):
                yield obj

    def remaining(self, namespace: str, after: str) -> int:
        """How many objects of a namespace (of all, if empty) come after a key."""
        start, end = self._span(namespace, after)
        return end - start

    def _span(self, namespace: str, after: str) -> tuple[int, int]:
        start, end = 0, len(self.keys)
        if namespace:
            start = bisect.bisect_left(self.keys, f"{namespace}/")
            end = bisect.bisect_left(self.keys, f"{namespace}0")  # "0" follows "/"
        return (max(start, bisect.bisect_right(self.keys, after)) if after else start), end

    def _candidates(self, namespace: str, selector: Selector, after: str) -> Iterable[str]:
        name = selector.only_name()
        if name is not None and (namespace or not self.resource.namespaced):
            key = f"{namespace}/{name}"
            return (key,) if key in self.objects and key > after else ()
        best: list[str] | None = None
        # A value that most objects share (the app's name) is no help: walk the keys instead.
        limit = len(self.keys) // 4 + 16
        for label, values in selector.exact():
            if label.startswith("field:") and label[6:] not in self.resource.indexed_fields:
                continue
            found = self._indexed(label, values, limit)
            if found is not None and (best is None or len(found) < len(best)):
                best = found
        if best is not None:
            return [key for key in sorted(best) if key > after]
        start, end = self._span(namespace, after)
        return (
            [self.keys[i] for i in range(start, end)]
            if end - start < 64
            else (self.keys[i] for i in range(start, end))
        )

    def _indexed(self, label: str, values: frozenset[str], limit: int) -> list[str] | None:
        keys: list[str] = []
        for value in values:
            entry = self._index.get((label, value))
            if entry is None:
                continue
            if isinstance(entry, str):
                keys.append(entry)
            elif len(entry) > limit:
                return None
            else:
                keys.extend(entry)
        return keys

    def _pairs(self, obj: Obj) -> Iterator[tuple[str, str]]:
        yield from obj.labels.items()
        if obj.fields:
            for name in self.resource.indexed_fields:
                if name in obj.fields:
                    yield "field:" + name, obj.fields[name]

    def _index_all(self, obj: Obj, key: str) -> None:
        for pair in self._pairs(obj):
            entry = self._index.get(pair)
            if entry is None:
                self._index[pair] = key
            elif isinstance(entry, dict):
                entry[key] = None
            elif entry != key:
                self._index[pair] = {entry: None, key: None}

    def _unindex(self, obj: Obj, key: str) -> None:
        for pair in self._pairs(obj):
            entry = self._index.get(pair)
            if isinstance(entry, dict):
                entry.pop(key, None)
                if entry:
                    continue
            if entry is not None:
                del self._index[pair]

    def _record(self, change: Change) -> None:
        if self.history:
            self.history[-1].forget_line()
        self.history.append(change)
        # Cut in large steps: dropping the oldest one by one would move the whole list each time.
        if len(self.history) > self._history_limit * 5 // 4:
            dropped = len(self.history) - self._history_limit
            self.forgotten_rv = self.history[dropped - 1].rv
            del self.history[:dropped]
        for listener in tuple(self.listeners):
            listener(change)


class Store:
    """Every collection, and the one revision counter they share."""

    def __init__(self, history: int) -> None:
        # From the clock, so that after a restart a revision of the earlier run is too old (410)
        # and never one that is yet to come.
        self.rv = time.time_ns() // 1_000_000 - _EPOCH
        self._collections = {
            r.plural: Collection(r, history if r is JOBS else history // 5, self.rv)
            for r in RESOURCES
        }

    def of(self, resource: Resource) -> Collection:
        """Return the collection of a resource."""
        return self._collections[resource.plural]

    def put(self, obj: Obj) -> Obj:
        """Store a new object or a new version of one; returns it with its revision."""
        self.rv += 1
        obj = obj.at(self.rv)
        self.of(obj.resource).put(obj)
        return obj

    def remove(self, obj: Obj) -> Obj:
        """Remove an object; returns it as of its removal."""
        self.rv += 1
        obj = obj.at(self.rv)
        self.of(obj.resource).remove(obj)
        return obj
