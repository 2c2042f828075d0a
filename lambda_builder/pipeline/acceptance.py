"""Acceptance: an event becomes a build, once. Reserve a slot, then record, then enqueue.

A refusal leaves nothing behind, every acknowledged build has a slot, and a delivery of an event
that is known, or that another request is accepting at this moment, gets the same answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Literal

from lambda_builder.builds import BuildRequest, BuildResult, BuildState, Priority
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import Journal
from lambda_builder.pipeline.awaited import Awaited
from lambda_builder.pipeline.ledger import Ledger, turning_away
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed, TenantFull
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.stats import Counts
from lambda_builder.steps import Ending, Steps, UntilEnding, Work
from lambda_builder.telemetry.tracing import current_traceparent
from lambda_builder.tenants import ALL_TENANTS, Tenants

_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_CLAIM_SECONDS = 15.0
"""Longest wait for another request that is accepting the same event."""
_SHUTDOWN_RETRY_AFTER = 5

ActiveJob = Callable[[BuildRequest], str | None]
Admission = Callable[[Sequence[BuildRequest]], None]
"""Judges builds that are new and have their slots; raises ``Refused``."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to one delivered event; ``future`` ends with the build's outcome."""

    status: Literal["queued", "duplicate", "skipped"]
    request: BuildRequest
    queue_size: int
    state: BuildState
    future: Future[BuildResult]


def entry_for(build: Build) -> Entry[Build]:
    """Return the queue's entry for a build."""
    request = build.request
    return Entry(
        request.event_hash,
        build,
        _RANK[request.priority],
        request.third_party_id,
        request.event_bytes,
    )


class Acceptance:
    """Accepts events; thread-safe.

    ``active_job`` names the unfinished Job of a request's target, where one event per target is
    wanted; None where every event is built. ``job_of`` tells of a build of any replica by its Job,
    also for some time after that is gone. ``judge`` raises ``Refused`` for what is not to be built.
    ``admissions`` are asked in turn, the last of them once all others let the builds pass.
    ``over_share`` is told when a tenant's share is full.
    """

    def __init__(
        self,
        build_queue: BuildQueue[Build],
        ledger: Ledger,
        live: LiveBuilds,
        results: ResultStore,
        journal: Journal,
        counts: Counts,
        *,
        active_job: ActiveJob | None = None,
        job_of: Callable[[BuildRequest], BuildResult | None] = lambda _request: None,
        admissions: Sequence[Admission] = (),
        over_share: Callable[[], object] = lambda: None,
        judge: Callable[[BuildRequest], None] = lambda _request: None,
        awaited: Awaited | None = None,
    ) -> None:
        self._queue = build_queue
        self._ledger = ledger
        self._live = live
        self._results = results
        self._journal = journal
        self._counts = counts
        self._active_job = active_job
        self._job_of = job_of
        self._admissions = admissions
        self._over_share = over_share
        self._judge = judge
        self._awaited = awaited or Awaited()
        self._lock = threading.Lock()
        self._claims: dict[str, Ending] = {}
        """Events that a request is accepting at this moment, until when."""

    def accept(
        self, requests: Sequence[BuildRequest], tenants: Tenants = ALL_TENANTS
    ) -> list[Receipt]:
        """Accept all of ``requests`` or none of them; waits for the journal. Raises ``Refused``.

        ``tenants`` are those that the sender may send events of: it is told of no build of others,
        whose event may have had the same source and id.
        """
        return Work(self.accepting(requests, tenants)).finish()

    def accepting(
        self, requests: Sequence[BuildRequest], tenants: Tenants = ALL_TENANTS
    ) -> Steps[list[Receipt]]:
        """Do as ``accept`` does, in steps, which may be taken by different threads."""
        wanted: dict[str, BuildRequest] = {}
        for request in requests:
            wanted.setdefault(request.event_hash, request)
        over = Ending()
        yield from self._claim_all(wanted, over)
        try:
            receipts = {}
            for key, request in wanted.items():
                receipts[key] = yield from self._known(request)
            _refuse_others(receipts.values(), tenants)
            fresh = [wanted[key] for key, receipt in receipts.items() if receipt is None]
            for request in fresh:
                self._judge(request)
            skipped = [r.request for r in receipts.values() if r and r.status == "skipped"]
            entered: dict[str, Receipt] = {}
            if fresh or skipped:
                entered = yield from self._enter_or_find(fresh, skipped)
            _refuse_others(entered.values(), tenants)
        finally:
            with self._lock:
                for key in wanted:
                    del self._claims[key]
            over.come()
        settled = {key: receipt or entered[key] for key, receipt in receipts.items()}
        return list(self._one_each(requests, settled))

    def _one_each(
        self, requests: Sequence[BuildRequest], receipts: dict[str, Receipt]
    ) -> Iterator[Receipt]:
        """Answer in order; what came twice in one delivery is a duplicate the second time."""
        answered: set[str] = set()
        for request in requests:
            receipt = receipts[request.event_hash]
            if request.event_hash in answered:
                receipt = replace(receipt, status="duplicate")
            answered.add(request.event_hash)
            if receipt.status == "duplicate":
                self._counts.add("duplicates")
            elif receipt.status == "skipped":
                self._queue.count("skipped")
            yield receipt

    # -- one request at a time per event -------------------------------------------------------

    def _claim_all(self, wanted: Collection[str], over: Ending) -> Steps[None]:
        """Keep other requests with any of the same events waiting until it is ``over``.

        Whoever waits holds no claim itself, so that two batches cannot wait for each other; and
        judges for itself afterwards, so that no refusal is inherited.
        """
        deadline = time.monotonic() + _CLAIM_SECONDS
        while (other := self._claim(wanted, over)) is not None:
            turn = UntilEnding(other, deadline - time.monotonic())
            if turn.seconds > 0:
                yield turn
            if not turn.came:
                raise Refused(
                    RefusalCode.TOO_MANY_WAITING,
                    "another delivery of this event is still being accepted, please retry",
                    retry_after=1,
                )

    def _claim(self, wanted: Collection[str], over: Ending) -> Ending | None:
        """Claim all of ``wanted``; where one is claimed, claim none and return its end."""
        with self._lock:
            for key in wanted:
                if key in self._claims:
                    return self._claims[key]
            self._claims.update(dict.fromkeys(wanted, over))
            return None

    # -- known already -------------------------------------------------------------------------

    def _known(self, request: BuildRequest) -> Steps[Receipt | None]:
        found = yield from self._find(request.event_hash)
        result = found or self._job_of(request)
        if result is not None:
            return self._receipt("duplicate", result.request, result)
        job_name = self._busy_target(request)
        if job_name is None:
            return None
        skipped = replace(request, job_name=job_name)
        result = BuildResult(request=skipped, state=BuildState.CREATED)
        return self._receipt("skipped", skipped, result)

    def _find(self, event_hash: str) -> Steps[BuildResult | None]:
        found = self._results.by_event(event_hash)
        if found is None and self._journal.remembers(event_hash):
            yield None
            found = self._journal.find(event_hash)
        if found is not None and found.state.waits:
            return (yield from self._waiting(found))
        return found

    def _waiting(self, found: BuildResult) -> Steps[BuildResult]:
        """Return a build that waits as it is now.

        One that is this replica's, but not queued yet, gets a build that can be waited for; it may
        also have ended since it was looked for.
        """
        event_hash = found.request.event_hash
        if self._live.get(event_hash) is None:
            yield None
            row = self._journal.take(event_hash, from_others=False)
            if row is not None:
                self._ledger.taken(row)
        return self._results.by_event(event_hash) or found

    def _busy_target(self, request: BuildRequest) -> str | None:
        if self._active_job is None:
            return None
        if self._live.has_target(request.third_party_id, request.parser_id):
            return request.job_name
        # Not by what is remembered of the target's builds: their Jobs may be gone. Where nobody has
        # seen the Job that is in the way, the worker finds it.
        return self._active_job(request)

    def _receipt(
        self, status: Literal["duplicate", "skipped"], request: BuildRequest, result: BuildResult
    ) -> Receipt:
        build = self._live.get(request.event_hash)
        if build is not None:
            future = build.future
        elif result.state.waits:  # at another replica
            future = self._awaited.future_of(request.event_hash)
        else:
            future = Future()
            future.set_result(result)
        return Receipt(status, request, self._queue.qsize(), result.state, future)

    # -- new -----------------------------------------------------------------------------------

    def _enter_or_find(
        self, requests: list[BuildRequest], skipped: Sequence[BuildRequest]
    ) -> Steps[dict[str, Receipt]]:
        """Enter new builds; where there is no room for them, some may be known elsewhere."""
        try:
            return (yield from self._enter(requests, skipped))
        except Refused as refused:
            if refused.code is RefusalCode.JOURNAL_UNAVAILABLE or not self._journal.shared:
                raise
            yield None
            known = {each.event_hash: self._journal.find(each.event_hash) for each in requests}
            found = {key: result for key, result in known.items() if result is not None}
            if not found:
                raise
        fresh = [request for request in requests if request.event_hash not in found]
        duplicates = yield from self._duplicates(found)
        if fresh or skipped:
            return duplicates | (yield from self._enter(fresh, skipped))
        return duplicates

    def _duplicates(self, known: dict[str, BuildResult]) -> Steps[dict[str, Receipt]]:
        receipts = {}
        for key, result in known.items():
            if result.state.waits:
                result = yield from self._waiting(result)
            receipts[key] = self._receipt("duplicate", result.request, result)
        return receipts

    def _enter(
        self, requests: list[BuildRequest], skipped: Sequence[BuildRequest]
    ) -> Steps[dict[str, Receipt]]:
        traceparent = current_traceparent()
        if traceparent:
            requests = [replace(request, traceparent=traceparent) for request in requests]
        builds = [Build(request) for request in requests]
        turned_away = [turning_away(request) for request in skipped]
        size = sum(request.event_bytes for request in requests)
        if builds:
            self._reserve(requests, size)
        try:
            for admit in self._admissions if requests else ():
                admit(requests)
            recording = self._journal.recording(requests, turned_away)
            if not recording.is_over:
                yield recording
            known = recording.known()
            if known:
                self._give_back([each for each in requests if each.event_hash in known])
                requests = [each for each in requests if each.event_hash not in known]
                builds = [each for each in builds if each.request.event_hash not in known]
                size = sum(request.event_bytes for request in requests)
            entering = self._ledger.accepted(builds)
            queued = {build.request.event_hash for build in entering}
            if len(entering) < len(builds):
                self._give_back([each for each in requests if each.event_hash not in queued])
        except BaseException:
            self._queue.release(len(builds), size, tenants_of(requests))
            raise
        self._queue.put_reserved([entry_for(build) for build in entering])
        for result in turned_away:
            self._ledger.turned_away(result)
        waiting = self._queue.qsize()
        duplicates = yield from self._duplicates(known)
        return duplicates | {
            build.request.event_hash: Receipt(
                "queued", build.request, waiting, BuildState.QUEUED, build.future
            )
            for build in builds
        }

    def _give_back(self, requests: Sequence[BuildRequest]) -> None:
        """Give the room of events back that turned out to be known."""
        size = sum(request.event_bytes for request in requests)
        self._queue.release(len(requests), size, tenants_of(requests))

    def _reserve(self, requests: Sequence[BuildRequest], size: int) -> None:
        count = len(requests)
        if count > self._queue.maxsize:
            raise Refused(
                RefusalCode.INVALID_BATCH,
                f"batch of {count} events can never fit the queue of {self._queue.maxsize}; "
                "send smaller batches or raise QUEUE_SIZE",
            )
        try:
            self._queue.reserve(count, size, tenants_of(requests))
        except queue.Full as full:
            if isinstance(full, TenantFull):
                self._over_share()
            raise queue_full(self._queue, full) from None
        except QueueClosed:
            raise shutting_down() from None


def tenants_of(requests: Iterable[BuildRequest]) -> list[str]:
    """Return whose builds they are, each tenant as often as it has one."""
    return [request.third_party_id for request in requests]


def _refuse_others(receipts: Iterable[Receipt | None], tenants: Tenants) -> None:
    for receipt in receipts if not tenants.are_all else ():
        if receipt is not None and receipt.request.third_party_id not in tenants:
            raise Refused(
                RefusalCode.FORBIDDEN, "an event of another tenant has the same source and id"
            )


def queue_full(build_queue: BuildQueue[Build], full: queue.Full) -> Refused:
    """Return the refusal of a full queue, or share of it, with the time in which it drains."""
    if isinstance(full, TenantFull):
        return Refused(
            RefusalCode.TENANT_LIMIT,
            "this tenant's share of the job queue is full, please retry later",
            retry_after=build_queue.retry_after(),
        )
    return Refused(
        RefusalCode.QUEUE_FULL,
        f"job queue full, please retry later ({build_queue.qsize()} builds wait)",
        retry_after=build_queue.retry_after(),
    )


def shutting_down() -> Refused:
    """Return the refusal of a service that is stopping."""
    return Refused(
        RefusalCode.SHUTTING_DOWN,
        "shutting down, please send the event to another replica",
        retry_after=_SHUTDOWN_RETRY_AFTER,
    )
