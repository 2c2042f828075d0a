"""Acceptance: an event becomes a build, once. Reserve a slot, then record, then enqueue.

A refusal leaves nothing behind, every acknowledged build has a slot, and a delivery of an event
that is known, or that another request is accepting at this moment, gets the same answer.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Literal

from lambda_builder.build_queue import BuildQueue, QueueClosed
from lambda_builder.build_records import Build, BuildRecords
from lambda_builder.builds import BuildRequest, BuildResult, BuildState, Priority
from lambda_builder.counts import Counts
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.schedule import Entry
from lambda_builder.telemetry.tracing import current_traceparent

_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_CLAIM_SECONDS = 15.0
"""Longest wait for another request that is accepting the same event."""
_SHUTDOWN_RETRY_AFTER = 5

ActiveJob = Callable[[BuildRequest], str | None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to one delivered event; ``future`` ends with the build's outcome."""

    status: Literal["queued", "duplicate", "skipped"]
    job_name: str
    correlation_id: str
    event_id: str
    queue_size: int
    state: BuildState
    future: Future[BuildResult]


def entry_for(build: Build) -> Entry[Build]:
    """Return the queue's entry for a build."""
    request = build.request
    return Entry(request.event_hash, build, _RANK[request.priority], request.third_party_id)


class Acceptance:
    """Accepts events; thread-safe.

    ``active_job`` names the unfinished Job of a request's target, where one event per target is
    wanted; None where every event is built.
    """

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        records: BuildRecords,
        counts: Counts,
        *,
        active_job: ActiveJob | None = None,
    ) -> None:
        self._queue = build_queue
        self._records = records
        self._counts = counts
        self._active_job = active_job
        self._lock = threading.Lock()
        self._claims: dict[str, Future[None]] = {}

    def accept(self, requests: Sequence[BuildRequest]) -> list[Receipt]:
        """Accept all of ``requests`` or none of them; raises ``Refused``."""
        wanted: dict[str, BuildRequest] = {}
        for request in requests:
            wanted.setdefault(request.event_hash, request)
        claims, others = self._claim(wanted)
        receipts: dict[str, Receipt] = {}
        try:
            for event_hash in claims:
                known = self._known(wanted[event_hash])
                if known is not None:
                    receipts[event_hash] = known
            fresh = [wanted[event_hash] for event_hash in claims if event_hash not in receipts]
            if fresh:
                receipts.update(self._enter(fresh))
        except BaseException as error:
            self._settle(claims, error)
            raise
        self._settle(claims, None)
        for event_hash, other in others.items():
            receipts[event_hash] = self._follow(wanted[event_hash], other)
        return list(self._one_each(requests, receipts))

    def _one_each(
        self, requests: Sequence[BuildRequest], receipts: dict[str, Receipt]
    ) -> Iterator[Receipt]:
        """Answer in order; what came twice in one delivery is a duplicate the second time."""
        answered: set[str] = set()
        for request in requests:
            receipt = receipts[request.event_hash]
            if request.event_hash in answered:
                self._counts.add("duplicates")
                receipt = replace(receipt, status="duplicate")
            answered.add(request.event_hash)
            yield receipt

    # -- one request at a time per event -------------------------------------------------------

    def _claim(
        self, wanted: dict[str, BuildRequest]
    ) -> tuple[dict[str, Future[None]], dict[str, Future[None]]]:
        """Return the claims made now, and those that other requests hold."""
        with self._lock:
            others = {key: self._claims[key] for key in wanted if key in self._claims}
            claims = {key: Future[None]() for key in wanted if key not in others}
            self._claims.update(claims)
        return claims, others

    def _settle(self, claims: dict[str, Future[None]], error: BaseException | None) -> None:
        with self._lock:
            for event_hash in claims:
                del self._claims[event_hash]
        for claim in claims.values():
            if error is None:
                claim.set_result(None)
            else:
                claim.set_exception(error)

    def _follow(self, request: BuildRequest, other: Future[None]) -> Receipt:
        """Answer as the request that holds the claim is answered: no sooner, and no better."""
        try:
            other.result(_CLAIM_SECONDS)
        except TimeoutError:
            raise queue_full(self._queue) from None
        known = self._known(request)
        return known or self.accept([request])[0]

    # -- known already -------------------------------------------------------------------------

    def _known(self, request: BuildRequest) -> Receipt | None:
        event_hash = request.event_hash
        result = self._records.results.by_event(event_hash)
        if result is None:
            result = self._records.journal.find(event_hash)
            if result is not None and result.state.waits:
                self._records.adopt(result.request, result.attempts)
        if result is not None:
            self._counts.add("duplicates")
            return self._receipt("duplicate", result.request, result)
        job_name = self._busy_target(request)
        if job_name is None:
            return None
        self._queue.count("skipped")
        skipped = replace(request, job_name=job_name)
        return self._receipt(
            "skipped", skipped, BuildResult(request=skipped, state=BuildState.CREATED)
        )

    def _busy_target(self, request: BuildRequest) -> str | None:
        if self._active_job is None:
            return None
        if self._records.target_is_live(request.third_party_id, request.parser_id):
            return request.job_name
        # Named by target, so this finds the target's builds; the watch may be a moment behind.
        for result in self._records.results.by_id(request.job_name):
            if result.state in (BuildState.CREATED, BuildState.RUNNING):
                return request.job_name
        return self._active_job(request)

    def _receipt(
        self, status: Literal["duplicate", "skipped"], request: BuildRequest, result: BuildResult
    ) -> Receipt:
        build = self._records.live(request.event_hash)
        if build is not None:
            future = build.future
        else:
            future = Future()
            future.set_result(result)
        return Receipt(
            status,
            request.job_name,
            request.correlation_id,
            request.event_id,
            self._queue.qsize(),
            result.state,
            future,
        )

    # -- new -----------------------------------------------------------------------------------

    def _enter(self, requests: list[BuildRequest]) -> dict[str, Receipt]:
        traceparent = current_traceparent()
        if traceparent:
            requests = [replace(request, traceparent=traceparent) for request in requests]
        builds = [Build(request) for request in requests]
        self._reserve(len(builds))
        try:
            self._records.journal.record(requests)
            self._records.accepted(builds)
        except BaseException:
            self._queue.release(len(builds))
            raise
        self._queue.put_reserved([entry_for(build) for build in builds])
        size = self._queue.qsize()
        return {
            build.request.event_hash: Receipt(
                "queued",
                build.request.job_name,
                build.request.correlation_id,
                build.request.event_id,
                size,
                BuildState.QUEUED,
                build.future,
            )
            for build in builds
        }

    def _reserve(self, count: int) -> None:
        if count > self._queue.maxsize:
            raise Refused(
                RefusalCode.INVALID_BATCH,
                f"batch of {count} events can never fit the queue of {self._queue.maxsize}; "
                "send smaller batches or raise QUEUE_SIZE",
            )
        try:
            self._queue.reserve(count)
        except queue.Full:
            raise queue_full(self._queue) from None
        except QueueClosed:
            raise shutting_down() from None


def queue_full(build_queue: BuildQueue[Build]) -> Refused:
    """Return the refusal of a full queue, with the time in which it drains."""
    return Refused(
        RefusalCode.QUEUE_FULL,
        f"job queue full, please retry later ({build_queue.maxsize} builds wait)",
        retry_after=build_queue.retry_after(),
    )


def shutting_down() -> Refused:
    """Return the refusal of a service that is stopping."""
    return Refused(
        RefusalCode.SHUTTING_DOWN,
        "shutting down, please send the event to another replica",
        retry_after=_SHUTDOWN_RETRY_AFTER,
    )
