"""JobIndex: records of tens of thousands of Jobs, by name, event, correlation ID and target.

They are kept as plain tuples of plain values, which Python's garbage collector does not look at:
objects would make each full collection longer, and with it some unlucky request.
"""

from __future__ import annotations

import threading
from operator import attrgetter
from typing import Any

from lambda_builder.builds import BuildError, BuildState, FailureCategory
from lambda_builder.kube.record import JobRecord
from lambda_builder.multimap import Multimap

_Packed = tuple[Any, ...]
_values = attrgetter(*JobRecord.__slots__)
_STATE = JobRecord.__slots__.index("state")
_PLAIN = {value: str.__str__(value) for value in (*BuildState, *FailureCategory)}
"""The states and categories as strings that are not members of an enumeration."""


class JobIndex:
    """Holds one record per Job name; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, _Packed] = {}
        self._by_event: dict[bytes, str] = {}
        self._correlations: Multimap[bytes] = Multimap()
        self._targets: Multimap[bytes] = Multimap()
        self._active = 0

    @property
    def active_count(self) -> int:
        """Jobs that have neither finished nor are being deleted."""
        return self._active

    def replace(self, old: JobRecord | None, new: JobRecord | None) -> None:
        """Put ``new`` in the place of ``old``, at once for all readers; both of the same name."""
        with self._lock:
            if old is not None:
                self._remove(old)
            if new is not None:
                self._insert(new)

    def get(self, name: str) -> JobRecord | None:
        """Return the Job of that name."""
        packed = self._by_name.get(name)
        return None if packed is None else _unpack(packed)

    def of_event(self, event_hash: bytes) -> JobRecord | None:
        """Return the Job of an event."""
        with self._lock:
            name = self._by_event.get(event_hash)
            return _unpack(self._by_name[name]) if name else None

    def of_target(self, target: bytes) -> list[JobRecord]:
        """Return the Jobs of a target."""
        return self._all(self._targets, target)

    def of_correlation(self, correlation: bytes) -> list[JobRecord]:
        """Return the Jobs of a correlation ID."""
        return self._all(self._correlations, correlation)

    def _all(self, index: Multimap[bytes], key: bytes) -> list[JobRecord]:
        with self._lock:
            return [_unpack(self._by_name[name]) for name in index.of(key)]

    def names(self) -> set[str]:
        """Return the names of all Jobs."""
        with self._lock:
            return set(self._by_name)

    def records(self, state: BuildState | None = None) -> list[JobRecord]:
        """Return the records of this moment, of one state or all."""
        with self._lock:
            kept = list(self._by_name.values())
        return [_unpack(packed) for packed in kept if state in (None, packed[_STATE])]

    # -- with the lock held --------------------------------------------------------------------

    def _insert(self, record: JobRecord) -> None:
        self._by_name[record.name] = _pack(record)
        if record.event_hash:
            self._by_event[record.event_hash] = record.name
        self._active += record.active
        self._targets.add(record.target, record.name)
        self._correlations.add(record.correlation, record.name)

    def _remove(self, record: JobRecord) -> None:
        del self._by_name[record.name]
        if self._by_event.get(record.event_hash) == record.name:
            del self._by_event[record.event_hash]
        self._active -= record.active
        self._targets.remove(record.target, record.name)
        self._correlations.remove(record.correlation, record.name)


def _pack(record: JobRecord) -> _Packed:
    name, uid, event_hash, target, correlation, state, error, *others = _values(record)
    words = error and (error.code, error.message, error.category and _PLAIN[error.category])
    return (name, uid, event_hash, target, correlation, _PLAIN[state], words, *others)


def _unpack(packed: _Packed) -> JobRecord:
    name, uid, event_hash, target, correlation, state, words, *others = packed
    error = words and BuildError(words[0], words[1], words[2] and FailureCategory(words[2]))
    return JobRecord(name, uid, event_hash, target, correlation, BuildState(state), error, *others)
