"""A cluster and a service in processes of their own, with a journal or without."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

_CLUSTER = ("--run-seconds", "5", "--pending-seconds", "1")
_MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - only to compare with
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Mode:
    """Where accepted builds are recorded; ``place`` is None for memory only."""

    name: str
    place: Path | None


def modes(disk: Path) -> list[Mode]:
    """Return the modes to compare; tmpfs is left out where there is none."""
    found = [Mode("journal off", None)]
    if _MEMORY_DISK.is_dir():
        found.append(Mode("journal on tmpfs", _MEMORY_DISK))
    return [*found, Mode("journal on disk", disk)]


@contextmanager
def cluster() -> Iterator[ClusterProcess]:
    """Run an embedded cluster."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ClusterProcess(Path(folder), *_CLUSTER) as running,
    ):
        yield running


@contextmanager
def service(
    api: ClusterProcess, mode: Mode | None = None, **settings: object
) -> Iterator[ServiceProcess]:
    """Run a service that is ready; its journal and log go with it."""
    place = mode.place if mode is not None else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        if place is not None:
            settings["journal_path"] = Path(folder, "journal.sqlite3")
        with ServiceProcess(api.kubeconfig, Path(folder), **settings) as running:
            yield running


def wait_until_idle(running: ServiceProcess, timeout: float = 120) -> None:
    """Wait until every accepted build has an outcome."""

    def is_idle() -> bool:
        stats = running.stats()
        return bool(stats["queue_size"] == stats["busy_workers"] == 0)

    wait_until(is_idle, "the queue to drain", timeout)


def worker_of(running: ServiceProcess) -> psutil.Process:
    """Return gunicorn's one worker, the process that does the work."""
    assert running.process is not None
    [worker] = psutil.Process(running.process.pid).children()
    return worker


def resident_mib(process: psutil.Process) -> float:
    """Return the memory that a process holds, in MiB."""
    return float(process.memory_info().rss) / _MIB


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
