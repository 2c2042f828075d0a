"""How long the service takes to start, to start with a full journal, and to stop with a queue."""

from __future__ import annotations

import logging
import statistics
import tempfile
from pathlib import Path

import requests
import structlog

from bench.journal import request
from bench.report import Report, below
from bench.setup import Stopwatch, cluster, service
from lambda_builder.journal import Journal
from tests.processes import ClusterProcess, ServiceProcess

OPEN_ROWS = 100_000
QUEUED = 50
JOB_SECONDS = 0.1
STARTS = 3


def measure(report: Report, disk: Path) -> None:
    """Measure and print."""
    report.section("start and stop")
    with cluster() as api:
        times = [seconds_to_ready(api) for _ in range(STARTS)]
        report.figure("from start to ready", statistics.median(times), " s", digits=2)
        with tempfile.TemporaryDirectory(dir=disk) as folder:
            journal = Path(folder, "journal.sqlite3")
            fill(journal)
            seconds = seconds_to_ready(api, journal_path=journal)
        report.figure(
            f"the same with {OPEN_ROWS:,} open builds in the journal",
            seconds,
            " s",
            digits=2,
            target=below(5, " s"),
        )
    with cluster() as api:
        report.figure(
            f"stop with {QUEUED} queued builds of {JOB_SECONDS * 1e3:.0f} ms",
            seconds_to_stop(api),
            " s",
            digits=2,
            target=below(30, " s"),
        )


def seconds_to_ready(api: ClusterProcess, **settings: object) -> float:
    """Start a service and return when /ready says so."""
    watch = Stopwatch()
    with service(api, None, **settings):
        return watch.seconds


def fill(path: Path) -> None:
    """Write a journal of builds that nobody has built yet."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    journal = Journal(path, keep_seconds=3600, keep_max=OPEN_ROWS)
    journal.open()
    for first in range(0, OPEN_ROWS, 1000):
        journal.record([request(number) for number in range(first, first + 1000)])
    assert journal.close(30)


def seconds_to_stop(api: ClusterProcess) -> float:
    """Queue builds whose creation takes a while, send SIGTERM, and see every Job made."""
    with service(api) as running:
        api.add_fault("latency", verb="create", resource="jobs", seconds=JOB_SECONDS)
        send(running)
        seconds = running.terminate()
    assert len(api.jobs()) == QUEUED
    return seconds


def send(running: ServiceProcess) -> None:
    """Post the builds over one connection."""
    with requests.Session() as session:
        for number in range(QUEUED):
            assert running.post(number, session=session).status_code == 200
