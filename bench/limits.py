"""What starting, waiting and stopping cost."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import psutil
import structlog

from bench import samples
from bench.load import Load
from bench.report import Report, below
from bench.setup import (
    MIB,
    Scale,
    Stopwatch,
    cluster,
    cpu_seconds,
    resident_mib,
    service,
    set_latency,
    worker_of,
)
from lambda_builder.journal import SqliteJournal
from tests.processes import ClusterProcess, ServiceProcess

OPEN_ROWS = 100_000
QUEUE_SIZE = 100
"""The default."""
API_SECONDS = 0.02


def measure(report: Report, scale: Scale) -> None:
    """Measure and print."""
    report.section("start, idle, stop")
    clock, used, idle, both = [], [], [], []
    with cluster() as api, tempfile.TemporaryDirectory() as as_installed:
        # The Kubernetes client loads it wherever it is there; only the tests need it.
        Path(as_installed, "kubernetes_validate.py").write_text("raise ImportError\n")
        for _ in scale.rounds:
            watch = Stopwatch()
            with service(api, scale.disk, modules_first=as_installed) as running:
                clock.append(watch.seconds)
                worker = worker_of(running)
                used.append(cpu_seconds(_master(running)) + cpu_seconds(worker))
                idle.append(resident_mib(worker))
                both.append(_proportional_mib(running))
        with tempfile.TemporaryDirectory(dir=scale.disk) as folder:
            rows, journal = scale.of(OPEN_ROWS, 100), Path(folder, "journal.sqlite3")
            fill(journal, rows)
            watch = Stopwatch()
            with service(api, journal_path=journal):
                full = watch.seconds
    report.row("processor time from start to ready", used, "s", digits=2, target=below(0.8))
    report.row("from start to ready", clock, "s", digits=2)
    name = f"the same with {OPEN_ROWS:,} open builds in the journal"
    report.row(name, full, "s", digits=2, target=below(5))
    report.row("idle: memory of the worker", idle, "MiB", digits=1, target=below(60))
    report.row("idle: memory of both processes, shared pages once", both, "MiB", digits=1)
    stops = []
    for _ in scale.rounds:
        with cluster() as api:
            stops.append(seconds_to_stop(api, scale))
    name = f"stop with a full queue of {QUEUE_SIZE}, {API_SECONDS * 1e3:g} ms a Job"
    report.row(name, stops, "s", digits=2, target=below(2))


def _master(running: ServiceProcess) -> psutil.Process:
    assert running.process is not None
    return psutil.Process(running.process.pid)


def _proportional_mib(running: ServiceProcess) -> float:
    """Return what both processes hold, each shared page divided among them."""
    processes = _master(running), worker_of(running)
    return float(sum(process.memory_full_info().pss for process in processes)) / MIB


def fill(path: Path, rows: int) -> None:
    """Write a journal of builds that nobody has built yet."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    journal = SqliteJournal(path, keep_seconds=3600, keep_max=OPEN_ROWS)
    journal.open()
    for first in range(0, rows, 1000):
        journal.record([samples.request(number) for number in range(first, first + 1000)])
    assert journal.close(30)


def seconds_to_stop(api: ClusterProcess, scale: Scale) -> float:
    """Fill the queue, send SIGTERM, and see every Job made."""
    with service(api, scale.disk, queue_size=QUEUE_SIZE) as running:
        set_latency(api, 1.0)
        count = QUEUE_SIZE + 5
        load = Load.run(running.url, count=count)
        set_latency(api, API_SECONDS)
        seconds = running.terminate()
    assert len(api.jobs()) == load.accepted >= QUEUE_SIZE
    return seconds
