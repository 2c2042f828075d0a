"""Jobs that nobody wants are deleted, and no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import JobOf, NoJournal
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle import sweeper as module
from lambda_builder.lifecycle.sweeper import Sweeper
from tests.integration.lifecycle.conftest import Builds
from tests.waiting import wait_until


class Shared(NoJournal):
    """Wants no Jobs but those of ``wanted`` names; notes what it was asked."""

    shared = True

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        super().__init__()
        self.wanted = wanted
        self.asked: list[list[str]] = []
        self.is_away = False

    def unwanted(self, jobs: Sequence[JobOf]) -> list[JobOf]:
        if self.is_away:
            raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "away")
        self.asked.append(sorted(job.name for job in jobs))
        return [job for job in jobs if job.name not in self.wanted]


@pytest.fixture
def watcher(builds: Builds, watch: Callable[..., JobWatcher]) -> JobWatcher:
    """Shows two unfinished Jobs."""
    builds.create("id-1")
    builds.create("id-2")
    watcher = watch()
    wait_until(lambda: watcher.following and watcher.active_count == 2, "the Jobs")
    return watcher


def names(cluster: DevCluster) -> list[str]:
    return sorted(job["metadata"]["name"] for job in cluster.jobs())


def test_unwanted_jobs_are_deleted_once_they_are_no_longer_young(
    cluster: DevCluster, jobs: JobManager, watcher: JobWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = names(cluster)
    journal = Shared([first])
    sweeper = Sweeper(watcher, journal, jobs, available=lambda: True)
    sweeper.sweep()
    assert journal.asked == [[first, second]]
    assert names(cluster) == [first, second]

    monkeypatch.setattr(module, "_YOUNG_SECONDS", -60.0)
    with capture_logs() as lines:
        sweeper.sweep()
    assert [(line["event"], line["job_name"]) for line in lines] == [
        ("unwanted_job_deleted", second)
    ]
    wait_until(lambda: names(cluster) == [first], "the other to be gone")


def test_a_sweep_that_fails_is_made_up_for_by_the_next(
    cluster: DevCluster, jobs: JobManager, watcher: JobWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_YOUNG_SECONDS", -60.0)
    journal = Shared()
    sweeper = Sweeper(watcher, journal, jobs, available=lambda: True)
    journal.is_away = True
    sweeper.sweep()
    journal.is_away = False
    cluster.add_fault(Fault("status", verb="delete", resource="jobs", status=500))
    with capture_logs() as lines:
        sweeper.sweep()
    assert {line["event"] for line in lines} == {"unwanted_job_not_deleted"}
    cluster.clear_faults()
    sweeper.sweep()
    wait_until(lambda: names(cluster) == [], "both to be gone")


def test_nobody_is_asked_where_the_jobs_are_not_known_or_cannot_be_deleted(
    jobs: JobManager, watcher: JobWatcher, builds: Builds
) -> None:
    journal = Shared()
    Sweeper(watcher, journal, jobs, available=lambda: False).sweep()
    watcher.stop(5.0)
    unseen = JobWatcher(jobs._client, jobs.namespace)
    Sweeper(unseen, journal, jobs, available=lambda: True).sweep()
    assert journal.asked == []
