"""JobWatcher: every Job of ours in the namespace, as a slim record that is kept current."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import structlog
from cachetools import LRUCache

from lambda_builder.builds import BuildError, BuildState, digest_bytes
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.index import JobIndex
from lambda_builder.kube.labels import OUR_JOBS
from lambda_builder.kube.record import (
    FINISHED,
    JobRecord,
    correlation_key,
    record_of,
    target_key,
)
from lambda_builder.kube.reflector import EventType, Reflector
from lambda_builder.kube.search import JobSearch
from lambda_builder.kube.status import Job

_DELETED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class JobChange:
    """What happened to a Job: ``previous`` became ``record``.

    A Job that is gone before it finished has become ``cancelled``.
    """

    kind: Literal["appeared", "changed", "gone"]
    record: JobRecord
    previous: JobRecord | None = None
    job: Job | None = field(default=None, compare=False, repr=False)
    """As the API has it, for who looks at once; None of one that is gone."""

    @property
    def ended(self) -> bool:
        """Whether the Job was active before, as far as was known, and is not any more."""
        was_active = self.previous is None or self.previous.active
        return was_active and not self.record.active

    @property
    def made_room(self) -> bool:
        """Whether a quota may have room now for another Job, or for what a Job needs."""
        return self.ended or self.kind == "gone"


Listener = Callable[[JobChange], None]


class JobWatcher(Reflector):
    """Records of our Jobs; thread-safe, starts and stops as ``Background``.

    Listeners are called by the watching thread, one change after the other, once the records show
    it; they must be quick. After an interruption they are told what was missed.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        *,
        available: Callable[[], bool] = lambda: True,
    ) -> None:
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        super().__init__(client, path, OUR_JOBS, name="job-watcher", available=available)
        self._listeners: list[Listener] = []
        self._list_listeners: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._index = JobIndex()
        self._seen: set[str] = set()
        self._deleted: LRUCache[str, bool] = LRUCache(_DELETED_MAX)
        """Uids of Jobs that were seen to be deleted."""

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change; to be called before ``start``."""
        self._listeners.append(listener)

    def listen_to_lists(self, begins: Callable[[], None], ends: Callable[[], None]) -> None:
        """Call ``begins`` before all Jobs are listed, and ``ends`` once the records are those.

        By the watching thread; to be called before ``start``. A list that is broken off begins
        again.
        """
        self._list_listeners.append((begins, ends))

    # -- what is known -------------------------------------------------------------------------

    @property
    def active_count(self) -> int:
        """Jobs that have neither finished nor are being deleted."""
        return self._index.active_count

    def records(self, state: BuildState | None = None) -> list[JobRecord]:
        """Return the records of this moment, of one state or all."""
        return self._index.records(state)

    def search(self, reasons: Mapping[str, BuildError]) -> JobSearch:
        """Return what searches the Jobs; ``reasons``, by uid, are told instead of their errors."""
        return self._index.search(reasons)

    def by_name(self, name: str) -> JobRecord | None:
        """Return the record of the Job with that name."""
        return self._index.get(name)

    def by_event(self, event_hash: str) -> JobRecord | None:
        """Return the record of an event's Job; ``event_hash`` in hex, 32 digits or all."""
        return self._index.of_event(digest_bytes(event_hash))

    def of_correlation(self, correlation_id: str) -> list[JobRecord]:
        """Return the records of a correlation ID's Jobs."""
        return self._index.of_correlation(correlation_key(correlation_id))

    def of_target(self, third_party_id: str, parser_id: str) -> list[JobRecord]:
        """Return the records of the Jobs of that third party and parser."""
        return self._index.of_target(target_key(third_party_id, parser_id))

    def active_job(self, third_party_id: str, parser_id: str, event_hash: str) -> str | None:
        """Return the name of an active Job of that target which is another event's.

        None also when the event's own Job is among the active ones: it is no duplicate of itself.
        """
        own = digest_bytes(event_hash)
        active = [r for r in self.of_target(third_party_id, parser_id) if r.active]
        if not active or any(record.event_hash == own for record in active):
            return None
        return active[0].name

    # -- called by the watching thread ---------------------------------------------------------

    def list_begins(self) -> None:
        """Forget which Jobs an unfinished list has shown."""
        self._seen = set()
        for begins, _ in self._list_listeners:
            begins()

    def page(self, objects: Sequence[Job]) -> None:
        """Take a part of the list."""
        for job in objects:
            self._seen.add(job["metadata"]["name"])
            self._present(job)

    def list_ends(self) -> None:
        """Drop what the list did not show."""
        missing = self._index.names() - self._seen
        self._seen = set()
        for name in missing:
            record = self._index.get(name)
            if record is not None:
                self._gone(record)
        for _, ends in self._list_listeners:
            ends()

    def event(self, kind: EventType, obj: Job) -> None:
        """Take one change."""
        if kind != "DELETED":
            self._present(obj)
            return
        self._deleted[obj["metadata"]["uid"]] = True
        known = self._index.get(obj["metadata"]["name"])
        if known is not None and known.uid == obj["metadata"]["uid"]:
            # It may have finished after it was last seen, and have been deleted right away.
            last = record_of(obj)
            self._gone(last if last.state in FINISHED else known)

    # -- changes -------------------------------------------------------------------------------

    def _present(self, job: Job) -> None:
        metadata = job["metadata"]
        if metadata["uid"] in self._deleted:
            return  # this was seen before, too: no uid is used again
        known = self._index.get(metadata["name"])
        record = record_of(job, known)
        if known is not None and known.uid != record.uid:
            self._gone(known)
            known = None
        if record == known:
            return
        if known is not None and known.state in FINISHED and record.state not in FINISHED:
            return  # a Job never starts again: this was seen before, in a newer state
        self._index.replace(known, record)
        self._tell(JobChange("changed" if known else "appeared", record, known, job))

    def _gone(self, last: JobRecord) -> None:
        known = self._index.get(last.name)
        self._index.replace(known, None)
        if last.active:
            last = replace(last, state=BuildState.CANCELLED, error=None, finished_at=time.time())
        self._tell(JobChange("gone", last, known))

    def _tell(self, change: JobChange) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - one bad Job must not end the watch of all
                structlog.get_logger().exception("job_change_failed", job_name=change.record.name)
