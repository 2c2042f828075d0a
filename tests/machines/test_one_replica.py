"""One replica against a dictionary: whatever comes in whatever order, it knows what was accepted.

Journal, queue, results, acceptance, commands and the lifecycle are the service's own; the API is in
memory. Steps are taken one after the other: what threads can do to each other is ``tests/races``.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pytest
import time_machine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lambda_builder.builds import BuildRequest, BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import SqliteJournal
from tests.journals import make_request
from tests.races.kubernetes import RUNNING, Api, Client, Trouble, ended
from tests.races.replica import Replica
from tests.silence import silence
from tests.waiting import wait_until

MEMORY = Path("/dev/shm")
EVENTS = 6
ROOM = 4
ATTEMPTS = 2
TTL = 7200.0
"""Longer than the wall clock is moved, so that nothing is forgotten that ended a moment ago."""
ENDED = (BuildState.SUCCEEDED, BuildState.FAILED)
State = Literal["waiting", "job", "dead", "cancelled"]
events = st.integers(0, EVENTS - 1)


@dataclass
class Known:
    """What the dictionary knows of an accepted event."""

    state: State
    attempts: int = 0
    job: BuildState = BuildState.CREATED
    """As the API has or had it, with ``state`` "job"."""
    written: bool = True
    """Whether the journal surely has this state."""
    lost_sight_of: bool = False
    """Its Job went, and nothing that would say how it ended was seen, or written before a kill."""


class OneReplica(RuleBasedStateMachine):
    """Each rule is one thing that may happen; the invariants hold after each."""

    def __init__(self) -> None:
        super().__init__()
        self.end = contextlib.ExitStack()
        self.end.enter_context(silence())
        self.wall = self.end.enter_context(time_machine.travel(1_800_000_000, tick=True))
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.end.callback(shutil.rmtree, self.directory)
        self.path = self.directory / "0.db"
        self.now = 1000.0
        self.api = Api()
        self.trouble: Trouble | None = None
        self.requests = [make_request(n, event=b"{}") for n in range(EVENTS)]
        self.known: dict[int, Known] = {}
        self.accepted = 0
        self.outcomes = dict.fromkeys(("created", "dead", "cancelled"), 0)
        self.lives = 0
        self._start()

    def teardown(self) -> None:
        with self.end:
            self.replica.queue.halt()
            assert self.replica.take_over.stop(10.0) == []
            assert self.journal.close(10.0)

    # -- deliveries ----------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.deliver([0, 1, 2])

    @rule(numbers=st.lists(events, min_size=1, max_size=3))
    def deliver(self, numbers: list[int]) -> None:
        fresh = {number for number in numbers if number not in self.known}
        requests = [self.requests[number] for number in numbers]
        receipts = answer(lambda: self.replica.acceptance.accept(requests))
        if isinstance(receipts, Refused):
            assert receipts.code is RefusalCode.QUEUE_FULL
            assert self._waiting() + len(fresh) > ROOM
            return
        assert not fresh or self._waiting() + len(fresh) <= ROOM
        for number, receipt in zip(numbers, receipts, strict=True):
            assert receipt.request.job_name == self.requests[number].job_name
            assert receipt.status == ("queued" if number in fresh else "duplicate")
            if number in fresh:
                fresh.discard(number)
                self.known[number] = Known("waiting")
                self.accepted += 1

    @rule(number=events)
    def cancel(self, number: int) -> None:
        known, request = self.known.get(number), self.requests[number]
        result = answer(lambda: self.replica.commands.cancel(request.job_name))
        if isinstance(result, Refused):
            if known is None:
                assert result.code is RefusalCode.NOT_FOUND
            else:
                assert result.code in (RefusalCode.ALREADY_FINISHED, RefusalCode.NOT_FOUND)
                assert known.state != "waiting"
                assert known.state != "job" or known.job in (*ENDED, BuildState.CANCELLED)
            return
        assert known is not None
        assert result.state is BuildState.CANCELLED
        assert request.job_name not in self.api.jobs
        if known.state == "waiting":
            self.outcomes["cancelled"] += 1
        else:
            assert known.job in (BuildState.CREATED, BuildState.RUNNING)
        self.known[number] = Known("cancelled")

    @rule(number=events)
    def retry(self, number: int) -> None:
        known, request = self.known.get(number), self.requests[number]
        result = answer(lambda: self.replica.commands.retry(request.job_name))
        if isinstance(result, Refused):
            if result.code is RefusalCode.QUEUE_FULL:
                assert self._waiting() >= ROOM
            elif known is not None and self._is_seen() and not known.lost_sight_of:
                assert known.state != "dead"
                assert known.state != "job" or known.job is not BuildState.FAILED
            return
        assert known is not None
        assert known.state == "dead" or known.job is BuildState.FAILED
        assert result.state is BuildState.QUEUED
        assert request.job_name not in self.api.jobs
        self.known[number] = Known("waiting")
        self.accepted += 1

    # -- a worker ------------------------------------------------------------------------------

    @rule(trouble=st.sampled_from([None, None, "lost_request", "lost_answer", "busy"]))
    def attempt(self, trouble: Trouble | None) -> None:
        """Let a worker take what is due and try it."""
        self.now += 60.0
        snapshot = self.replica.queue.snapshot()
        if not snapshot.waiting:
            assert not self._waiting()
            return
        entry = self.replica.queue.get(block=False)
        number = self._number(entry.key)
        known = self.known[number]
        assert known.state == "waiting"
        self.trouble = trouble if known.attempts < ATTEMPTS else None
        self.replica.attempts.run(entry)
        self.trouble = None
        self._attempted(number, trouble)

    def _attempted(self, number: int, trouble: Trouble | None) -> None:
        known, request = self.known[number], self.requests[number]
        after: State
        exists = request.job_name in self.api.jobs
        if known.attempts >= ATTEMPTS:  # the last process died in the last of them
            after = "job" if exists else "dead"
        elif trouble is None or (exists and known.attempts + 1 == ATTEMPTS):
            assert exists
            after = "job"
        else:
            after = "dead" if known.attempts + 1 == ATTEMPTS else "waiting"
        if after == "waiting":
            known.attempts += 1
            return
        self.outcomes["created" if after == "job" else "dead"] += 1
        job = self._job_state(request) if after == "job" else BuildState.CREATED
        self.known[number] = Known(after, job=job, written=False)

    # -- the cluster ---------------------------------------------------------------------------

    @rule(number=events, what=st.sampled_from(["run", "Complete", "Failed", "delete"]))
    def cluster(self, number: int, what: Literal["run", "Complete", "Failed", "delete"]) -> None:
        """Let a Job run or end, or somebody delete it."""
        name, known = self.requests[number].job_name, self.known.get(number)
        if name not in self.api.jobs:
            return
        state = self._job_state(self.requests[number])
        if what == "delete":
            where = next(path for path in self.api.objects if path.endswith(f"/{name}"))
            self.api.delete(where, {})
            state = state if state in ENDED else BuildState.CANCELLED
        elif state in ENDED:
            return
        else:
            self.api.set_status(name, RUNNING if what == "run" else ended(what, self.now))
            state = self._job_state(self.requests[number])
        if known is not None and known.state == "job":
            known.job, known.written = state, False

    @rule(most=st.integers(1, 4))
    def watch(self, most: int) -> None:
        self.replica.show(most)

    @rule(back=st.integers(1, 4))
    def watch_shows_again_what_it_showed_before(self, back: int) -> None:
        self.replica.shown = max(0, self.replica.shown - back)
        self.replica.show()

    @rule()
    def list_again(self) -> None:
        unseen = {job["metadata"]["name"] for _, job in self.api.history[self.replica.shown :]}
        for number, known in self.known.items():
            name = self.requests[number].job_name
            if known.state == "job" and name in unseen and name not in self.api.jobs:
                known.lost_sight_of = True  # a list does not say how what is gone has ended
        self.replica.list_again()

    # -- time ----------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([-1, 1]))
    def the_wall_clock_jumps(self, hours: int) -> None:
        self.wall.shift(hours * 3600.0)

    @rule()
    def sweep(self) -> None:
        self.now += 600.0
        self.replica.results.sweep()

    # -- lives ---------------------------------------------------------------------------------

    @rule(how=st.sampled_from(["stopped", "killed", "killed after a while"]))
    def another_process_takes_over(self, how: str) -> None:
        if how != "killed":
            assert self.journal.flush(10.0)
        path = self.path
        if how != "stopped":
            # What a killed process leaves are the files as they are at that moment.
            path = self.directory / f"{self.lives}.db"
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(f"{self.path}{suffix}", f"{path}{suffix}")
        self.replica.queue.halt()
        assert self.replica.take_over.stop(10.0) == []
        assert self.journal.close(10.0)
        for known in self.known.values():
            known.written |= how != "killed" and (known.state != "job" or self._is_seen())
        self.path = path
        self._start()

    def _start(self) -> None:
        self.lives += 1
        self.journal = SqliteJournal(self.path, keep_seconds=1e9, keep_max=1000)
        client = Client(self.api, trouble=lambda method: self.trouble if method == "POST" else None)
        self.replica = Replica(
            self.api,
            client=client,
            journal=self.journal,
            queue_size=ROOM,
            max_attempts=ATTEMPTS,
            result_ttl=TTL,
            clock=lambda: self.now,
        )
        self.replica.take_over.start(self.journal.open)
        self._take_over()
        self.replica.list_again()

    def _take_over(self) -> None:
        """Learn from the file what a killed process had not written any more."""
        left = self.journal.open_builds(after_seq=0, limit=100)
        for build in left:
            number = self._number(build.request.event_hash)
            known = self.known[number]
            assert known.state == "waiting" or not known.written
            known.state, known.attempts, known.written = "waiting", build.attempts, True
        open_ids = {build.request.event_hash for build in left}
        for number, known in self.known.items():
            if known.state == "waiting":
                assert self.requests[number].event_hash in open_ids, "accepted, and lost"
            elif not known.written:
                known.lost_sight_of |= self.requests[number].job_name not in self.api.jobs
        self.accepted = len(left)
        self.outcomes = dict.fromkeys(self.outcomes, 0)
        wait_until(lambda: self.replica.queue.snapshot().accepted == len(left), "the replay")

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def stats_add_up(self) -> None:
        self.replica.check_counts()
        counts = self.replica.queue.snapshot()
        assert counts.accepted == self.accepted
        assert {name: counts.outcomes[name] for name in self.outcomes} == self.outcomes
        assert counts.depth == self._waiting()

    @invariant()
    def what_waits_cannot_be_forgotten(self) -> None:
        for number, known in self.known.items():
            key = self.requests[number].event_hash
            assert (self.replica.live.get(key) is not None) == (known.state == "waiting")
            if known.state == "waiting":
                assert self.replica.results.by_event(key).state.waits

    @invariant()
    def ids_resolve(self) -> None:
        for number, known in self.known.items():
            request = self.requests[number]
            for build_id in request.ids:
                self._resolves(build_id, known)

    def _resolves(self, build_id: str, known: Known) -> None:
        found = answer(lambda: self.replica.finder.get(build_id))
        if isinstance(found, Refused):
            assert found.code is RefusalCode.NOT_FOUND
            if not known.lost_sight_of:
                assert known.state == "job", "accepted, and not known"
                assert known.job is BuildState.CANCELLED, "its Job is there, and it is not known"
        elif known.lost_sight_of:
            assert not found.state.waits
        elif known.state == "waiting":
            assert found.state.waits
        elif known.state != "job":
            assert found.state is BuildState(known.state)
        elif self._is_seen():
            assert found.state is known.job, (found.state, known)

    # -- shortcuts -----------------------------------------------------------------------------

    def _waiting(self) -> int:
        return sum(known.state == "waiting" for known in self.known.values())

    def _number(self, event_hash: str) -> int:
        return next(n for n, r in enumerate(self.requests) if r.event_hash == event_hash)

    def _is_seen(self) -> bool:
        return self.replica.shown == len(self.api.history)

    def _job_state(self, request: BuildRequest) -> BuildState:
        conditions = self.api.jobs[request.job_name].get("status", {})
        for condition in conditions.get("conditions", ()):
            return ENDED[condition["type"] == "Failed"]
        return BuildState.RUNNING if conditions.get("active") else BuildState.CREATED


T = TypeVar("T")


def answer(ask: Callable[[], T]) -> T | Refused:
    """Return what is answered, a refusal too."""
    try:
        return ask()
    except Refused as refused:
        return refused


class OneReplicaForLong(OneReplica):
    """The same, in the soak."""


TestOneReplica = OneReplica.TestCase
TestOneReplica.settings = settings(
    max_examples=25, stateful_step_count=30, derandomize=True, print_blob=True
)
TestOneReplicaForLong = pytest.mark.soak(OneReplicaForLong.TestCase)
TestOneReplicaForLong.settings = settings(
    max_examples=1500, stateful_step_count=60, print_blob=True
)
