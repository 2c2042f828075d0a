"""One replica without HTTP and without its own threads: put together as ``wiring`` does it."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import Any

from lambda_builder.builds import BuildRequest, BuildState
from lambda_builder.journal import NoJournal, SqliteJournal
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.pod_diagnosis import PodDiagnosis
from lambda_builder.kube.pods import PodReader
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.lifecycle.tracker import BuildLifecycle
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.acceptance import Acceptance
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.attempts import Attempts
from lambda_builder.pipeline.awaited import Awaited
from lambda_builder.pipeline.capacity import Capacity
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.runner import BuildRunner
from lambda_builder.pipeline.stats import Counts
from lambda_builder.pipeline.takeover import TakeOver
from lambda_builder.settings import Settings
from lambda_builder.steering.commands import BuildCommands
from lambda_builder.steering.queries import BuildFinder
from lambda_builder.telemetry.metrics import Metrics
from tests.races.kubernetes import Api, Client

NAMESPACE = "knative-lambda"


@functools.cache
def _template() -> JobTemplate:
    return JobTemplate.from_settings(Settings())


@functools.cache
def _metrics() -> Metrics:
    return Metrics()


class Watcher(JobWatcher):
    """Is fed by hand, and therefore current."""

    @property
    def following(self) -> bool:
        return True

    @property
    def synced(self) -> bool:
        return True


class Replica:
    """The parts of one replica, by name; ``shown`` is how much the watch has told it."""

    def __init__(
        self,
        api: Api,
        *,
        client: Client | None = None,
        journal: SqliteJournal | NoJournal | None = None,
        queue_size: int = 10,
        max_attempts: int = 4,
        result_ttl: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        client = client or Client(api)
        self.api = api
        self.journal = journal or NoJournal()
        self.shown = 0
        self.live, self.counts, capacity = LiveBuilds(), Counts(), Capacity(rng=rng, clock=clock)
        self.results = ResultStore(ttl_seconds=result_ttl, maximum=1000, timer=clock)
        self.queue: BuildQueue[Build] = BuildQueue(queue_size, clock=clock)
        self.health = ApiHealth(client.probe, rng=rng, clock=clock)
        announcer = Announcer(source="s", overrides={}, sink=False, dead_letters=False)
        announcements = Announcements(announcer, self.journal.outbox)
        self.ledger = Ledger(
            self.results, self.live, self.journal, announcements, namespace=NAMESPACE
        )
        jobs: JobManager = JobManager(_as_any(client), NAMESPACE)
        runner = BuildRunner(_template(), jobs, one_per_target=False)
        self.watcher = Watcher(_as_any(client), NAMESPACE)
        diagnosis = JobDiagnosis(
            self.watcher,
            PodDiagnosis(PodReader(_as_any(client), NAMESPACE)),
            jobs,
            available=lambda: False,
        )
        self.lifecycle = BuildLifecycle(
            self.watcher,
            self.ledger,
            _metrics(),
            diagnosis,
            ChangeFeed(),
            gone_seconds=result_ttl,
        )
        self.watcher.listen(self.lifecycle.job_changed)
        self.watcher.listen_to_lists(self.lifecycle.list_begins, self.lifecycle.list_ends)
        self.attempts = Attempts(
            self.queue,
            self.ledger,
            self.live,
            self.journal,
            runner,
            self.health,
            capacity,
            _metrics(),
            self.counts,
            max_attempts=max_attempts,
            retry_base_seconds=0.5,
            retry_max_seconds=30.0,
            on_created=lambda job: self.lifecycle.refresh(job.name),
            rng=rng,
        )
        self.acceptance = Acceptance(
            self.queue,
            self.ledger,
            self.live,
            self.results,
            self.journal,
            self.counts,
            job_of=self.lifecycle.of_event,
        )
        self.take_over = TakeOver(self.queue, self.ledger, self.live, self.journal, Awaited())
        self.finder = BuildFinder(
            self.results, self.journal, jobs, self.watcher, self.health, self.lifecycle.current
        )
        self.commands = BuildCommands(
            self.queue, self.ledger, self.live, self.results, runner, self.finder
        )

    # -- what a cluster does to it -------------------------------------------------------------

    def show(self, most: int = 1_000_000) -> None:
        """Let the watch tell of what has happened, at most so many changes."""
        for kind, job in self.api.history[self.shown : self.shown + most]:
            self.watcher.event(kind, job)
            self.shown += 1

    def list_again(self) -> None:
        """Let the watch begin anew with a list."""
        self.watcher.list_begins()
        self.watcher.page([*self.api.jobs.values()])
        self.watcher.list_ends()
        self.shown = len(self.api.history)

    # -- what must always hold -----------------------------------------------------------------

    def check_counts(self) -> None:
        """Stats add up, and agree with what is known of each build that waits."""
        counts = self.queue.snapshot()
        told = counts.depth + counts.held + sum(counts.outcomes.values())
        assert counts.accepted == told, counts

    def state_of(self, request: BuildRequest) -> BuildState | None:
        """Return what is known of a build's state."""
        result = self.results.by_event(request.event_hash)
        return None if result is None else result.state


def _as_any(client: Client) -> Any:
    return client
