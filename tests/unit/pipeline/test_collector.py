"""The pipeline's series, and that each has the number that is its own."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from lambda_builder.errors import FailureReason, RefusalCode, Refused
from lambda_builder.journal import MemoryOutbox, NoJournal
from lambda_builder.pipeline.collector import PipelineCollector
from lambda_builder.pipeline.stats import Stats
from tests.journals import make_message

STATS = Stats(
    worker_count=1,
    busy_workers=2,
    queue_size=3,
    max_queue_size=4,
    capacity_blocked=5,
    oldest_queued_seconds=6.5,
    active_jobs=7,
    workers_without_room=8,
    created_total=9,
    dead_total=10,
    cancelled_total=11,
    skipped_total=12,
    retried_by_reason={"timeout": 13},
    rejected_by_code={"invalid_data": 14},
    duplicates_total=15,
    panics_total=16,
    queue_full_total=17,
    api_available=False,
)
SERIES = {
    "async_worker_count": 1,
    "async_worker_busy": 2,
    "async_job_queue_depth": 3,
    "async_job_queue_capacity": 4,
    "async_job_capacity_blocked": 5,
    "async_job_oldest_queued_seconds": 6.5,
    "build_jobs_active": 7,
    "async_workers_without_room": 8,
    'async_jobs_total{outcome="created"}': 9,
    'async_jobs_total{outcome="dead"}': 10,
    'async_jobs_total{outcome="cancelled"}': 11,
    'async_jobs_total{outcome="skipped"}': 12,
    **{f'async_job_retries_total{{reason="{reason}"}}': 0 for reason in FailureReason},
    'async_job_retries_total{reason="timeout"}': 13,
    **{f'cloudevents_rejected_total{{code="{code}"}}': 0 for code in RefusalCode},
    'cloudevents_rejected_total{code="invalid_data"}': 14,
    "async_job_duplicates_total": 15,
    "async_worker_panics_total": 16,
    "async_job_queue_full_total": 17,
    "kubernetes_api_available": 0,
    "journal_available": 0,
    "journal_open_builds": 18,
    "journal_moved_aside_total": 19,
    "outbox_dropped_total": 20,
    "journal_pool_waiting": 21,
    "journal_replicas": 22,
    "journal_commits_total": 23,
    "journal_connections_made_total": 24,
    "journal_leases_lost_total": 25,
    "journal_builds_taken_over_total": 26,
    "journal_builds_relieved_total": 27,
    "journal_commit_seconds_total": 28.5,
    'outbox_pending{destination="sink"}': 2,
    'outbox_pending{destination="dead_letter"}': 1,
}


class Journal(NoJournal):
    """Has numbers of its own."""

    available = False

    def __init__(self, **numbers: int) -> None:
        super().__init__()
        self._numbers = numbers

    def stats(self) -> dict[str, int]:
        return self._numbers


def scraped(journal: NoJournal, stats: Stats = STATS) -> str:
    registry = CollectorRegistry()
    registry.register(PipelineCollector(lambda: stats, journal))
    return generate_latest(registry).decode()


def series(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_each_series_has_its_own_number() -> None:
    journal = Journal(
        open=18,
        moved_aside=19,
        outbox_dropped=20,
        readers_waiting=21,
        replicas=22,
        commits=23,
        connections_made=24,
        leases_lost=25,
        taken_over=26,
        relieved=27,
        commit_milliseconds=28_500,
    )
    letter = make_message(3, destination="dead_letter")
    journal.outbox.put([make_message(1), make_message(2), letter])

    assert series(scraped(journal)) == SERIES


def test_without_a_journal_its_series_are_there_and_zero() -> None:
    found = series(scraped(Journal()))

    assert found.keys() == SERIES.keys()
    assert {found[name] for name in found if name.startswith(("journal_", "outbox_"))} == {0.0}


def test_every_series_says_what_it_means() -> None:
    told = [line.split(" ", 3)[2:] for line in scraped(Journal()).splitlines() if "# HELP" in line]

    assert len(told) == 28
    assert [text for text in told if len(text) != 2 or len(text[1]) < 10] == []
    assert ["async_worker_busy", "Worker threads that hold a build."] in told


def test_nothing_is_read_before_the_first_scrape() -> None:
    def read() -> Stats:
        pytest.fail("read when the collector was registered")

    CollectorRegistry().register(PipelineCollector(read, Journal()))


def test_a_scrape_outlives_an_outbox_that_cannot_be_read(monkeypatch) -> None:
    def refuse(self: MemoryOutbox, destination: str | None = None) -> int:
        raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "disk I/O error")

    monkeypatch.setattr(MemoryOutbox, "pending", refuse)

    assert series(scraped(Journal()))['outbox_pending{destination="sink"}'] == 0
