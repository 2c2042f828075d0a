"""The cluster, the service, and what it is compared with, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

from tests.processes import ROOT, ClusterProcess, ServiceProcess, free_port
from tests.waiting import wait_until

MIB = 2**20
WAIT_SECONDS = 600.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: everything, or so little that it only shows that it works."""

    disk: Path
    """A directory on the disk that journals are measured on."""
    quick: bool = False

    def of(self, full: T, quick: T) -> T:
        """Return the one that is wanted."""
        return quick if self.quick else full

    @property
    def rounds(self) -> range:
        """Each figure is the median of so many."""
        return range(self.of(5, 1))

    @property
    def journals(self) -> dict[str, Path | None]:
        """The two modes, by name: where the journal is, None for memory only."""
        return {"in memory": None, "journal on disk": self.disk}


@contextmanager
def cluster(*, run_seconds: float = 0.2, pending_seconds: float = 0.05) -> Iterator[ClusterProcess]:
    """Run an embedded cluster."""
    options = ("--run-seconds", str(run_seconds), "--pending-seconds", str(pending_seconds))
    with (
        tempfile.TemporaryDirectory() as folder,
        ClusterProcess(Path(folder), *options) as running,
    ):
        yield running


@contextmanager
def service(
    api: ClusterProcess, journal: Path | None = None, *, modules_first: str = "", **settings: object
) -> Iterator[ServiceProcess]:
    """Run a service that is ready; its log, and its journal below ``journal``, go with it.

    Modules are looked for in the folder ``modules_first`` before all others.
    """
    with tempfile.TemporaryDirectory(dir=journal) as folder:
        if journal is not None:
            settings["journal_path"] = Path(folder, "journal.sqlite3")
        running = ServiceProcess(api.kubeconfig, Path(folder), **settings)
        if modules_first:
            before = running.environment.get("PYTHONPATH")
            running.environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, [modules_first, before])
            )
        with running:
            yield running


@contextmanager
def empty_view() -> Iterator[tuple[str, psutil.Process]]:
    """Run the empty Flask view; gives its address and gunicorn's worker."""
    port = free_port()
    command = ["gunicorn", "-c", "python:bench.empty", "-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "bench.empty:app"], cwd=ROOT, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/events"), "the empty view", 60, every=0.05)
        [worker] = psutil.Process(process.pid).children()
        yield url, worker
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def answers(url: str) -> bool:
    """Whether anything answers there."""
    try:
        requests.get(url, timeout=5)
    except requests.RequestException:
        return False
    return True


def wait_until_idle(running: ServiceProcess, *, every: float = 0.05) -> None:
    """Wait until every accepted build has an outcome."""

    def is_idle() -> bool:
        stats = running.stats()
        return bool(stats["queue_size"] == stats["busy_workers"] == 0)

    wait_until(is_idle, "the queue to drain", WAIT_SECONDS, every=every)


def jobs_summary(api: ClusterProcess) -> dict[str, Any]:
    """Return how many Jobs the cluster has, by what they do."""
    found: dict[str, Any] = requests.get(f"{api.url}/devcluster/jobs-summary", timeout=30).json()
    return found


def wait_until_jobs_ended(api: ClusterProcess) -> None:
    """Wait until no Job is under way."""

    def have_ended() -> bool:
        found = jobs_summary(api)
        return bool(found["pending"] + found["running"] == 0)

    wait_until(have_ended, "the Jobs to end", WAIT_SECONDS, every=0.2)


def set_latency(api: ClusterProcess, seconds: float) -> None:
    """Let the creation of each Job take so long, and nothing else."""
    api.clear_faults()
    if seconds:
        api.add_fault("latency", verb="create", resource="jobs", seconds=seconds)


def metric(running: ServiceProcess, name: str) -> float:
    """Return the sum of the samples that begin with ``name``."""
    lines = running.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def worker_of(running: ServiceProcess) -> psutil.Process:
    """Return gunicorn's one worker, the process that does the work."""
    assert running.process is not None
    [worker] = psutil.Process(running.process.pid).children()
    return worker


def pin(process: psutil.Process, core: int) -> None:
    """Let every thread of a process, and those it starts, run on one core only."""
    for thread in process.threads():
        os.sched_setaffinity(thread.id, {core})


def resident_mib(process: psutil.Process) -> float:
    """Return the memory that a process holds, in MiB."""
    return float(process.memory_info().rss) / MIB


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        return time.perf_counter() - self._begun
