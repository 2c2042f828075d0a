"""JobIndex: records of tens of thousands of Jobs, by name, event, correlation ID and target.

They are kept as plain tuples of plain values, which Python's garbage collector does not look at:
objects would make each full collection longer, and with it some unlucky request.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from operator import attrgetter

from lambda_builder.builds import BuildError, BuildState, job_name
from lambda_builder.kube.packing import STATE, Packed, pack, place_of_packed, unpack
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.search import JobSearch, text_of
from lambda_builder.multimap import Multimap
from lambda_builder.ordered import Ordered
from lambda_builder.selection import Place


class JobIndex:
    """Holds one record per Job name; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, Packed] = {}
        self._listed: Ordered[Packed] = Ordered(place_of_packed, text_of)
        """Those that have an event."""
        self._events: Multimap[bytes, str] = Multimap()
        self._correlations: Multimap[bytes, str] = Multimap()
        self._targets: Multimap[bytes, str] = Multimap()
        self._active = 0

    @property
    def active_count(self) -> int:
        """Jobs that have neither finished nor are being deleted."""
        return self._active

    def replace(self, old: JobRecord | None, new: JobRecord | None) -> None:
        """Put ``new`` in the place of ``old``, at once for all readers; both of the same name."""
        with self._lock:
            if old is not None and new is not None and _found_by(old) == _found_by(new):
                self._change(old, new)
                return
            if old is not None:
                self._remove(old)
            if new is not None:
                self._insert(new)

    def get(self, name: str) -> JobRecord | None:
        """Return the Job of that name."""
        packed = self._by_name.get(name)
        return None if packed is None else unpack(packed)

    def of_event(self, event_hash: bytes) -> JobRecord | None:
        """Return the Job of an event, not one that somebody copied its label to."""
        found = self._all(self._events, event_hash)
        if len(found) > 1:
            found.sort(key=_is_copy)
        return found[0] if found else None

    def of_target(self, target: bytes) -> list[JobRecord]:
        """Return the Jobs of a target."""
        return self._all(self._targets, target)

    def of_correlation(self, correlation: bytes) -> list[JobRecord]:
        """Return the Jobs of a correlation ID."""
        return self._all(self._correlations, correlation)

    def _all(self, index: Multimap[bytes, str], key: bytes) -> list[JobRecord]:
        with self._lock:
            return [unpack(self._by_name[name]) for name in index.of(key)]

    def names(self) -> set[str]:
        """Return the names of all Jobs."""
        with self._lock:
            return set(self._by_name)

    def records(self, state: BuildState | None = None) -> list[JobRecord]:
        """Return the records of this moment, of one state or all."""
        with self._lock:
            kept = list(self._by_name.values())
        return [unpack(packed) for packed in kept if state in (None, packed[STATE])]

    def search(self, reasons: Mapping[str, BuildError]) -> JobSearch:
        """Return what searches the Jobs; ``reasons``, by uid, are told instead of their errors."""
        return JobSearch(self._before, reasons)

    def _before(
        self, place: Place | None, most: int, having: Sequence[str]
    ) -> tuple[list[Packed], Place | None]:
        with self._lock:
            return self._listed.before(place, most, having)

    # -- with the lock held --------------------------------------------------------------------

    def _change(self, old: JobRecord, new: JobRecord) -> None:
        self._by_name[new.name] = packed = pack(new)
        if new.event_hash:
            self._listed.put(packed)
        self._active += new.active - old.active

    def _insert(self, record: JobRecord) -> None:
        self._by_name[record.name] = packed = pack(record)
        if record.event_hash:
            self._listed.put(packed)
            self._events.add(record.event_hash, record.name)
        self._active += record.active
        self._targets.add(record.target, record.name)
        self._correlations.add(record.correlation, record.name)

    def _remove(self, record: JobRecord) -> None:
        self._listed.remove(place_of_packed(self._by_name.pop(record.name)))
        self._events.remove(record.event_hash, record.name)
        self._active -= record.active
        self._targets.remove(record.target, record.name)
        self._correlations.remove(record.correlation, record.name)


_found_by = attrgetter("name", "placed_at", "event_hash", "target", "correlation")


def _is_copy(record: JobRecord) -> bool:
    request = record.result().request
    return record.name != job_name(
        request.third_party_id, request.parser_id, record.event_hash.hex()
    )
