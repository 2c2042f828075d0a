"""Signals that gunicorn knows: those that do not stop the service leave its one worker alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

QUEUED = 30


@pytest.fixture
def with_journal(cluster: ClusterProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    journal = tmp_path / "journal.sqlite3"
    with ServiceProcess(cluster.kubeconfig, tmp_path, journal_path=journal) as running:
        yield running


def children(service: ServiceProcess) -> list[int]:
    assert service.process is not None
    return [child.pid for child in psutil.Process(service.process.pid).children()]


def test_no_signal_that_does_not_stop_the_service_starts_or_ends_a_process(
    cluster: ClusterProcess, with_journal: ServiceProcess
) -> None:
    before = children(with_journal)
    cluster.add_fault("latency", verb="create", resource="jobs", seconds=0.1)
    names = ("HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH")
    for done, name in enumerate(names):
        for number in range(QUEUED):
            assert with_journal.post(f"{name}-{number}").status_code == 200
        with_journal.signal(signal.Signals[f"SIG{name}"])
        handled = f"Handling signal: {name.lower()}"
        wait_until(lambda: handled in with_journal.log_path.read_text(), "gunicorn to hear of it")  # noqa: B023
        expected = (done + 1) * QUEUED
        wait_until(lambda: len(cluster.jobs()) == expected, f"the queue to drain after {name}")  # noqa: B023
        assert children(with_journal) == before, name
    assert with_journal.post("afterwards").status_code == 200
    assert with_journal.terminate() < 30
    assert set(cluster.jobs_per_event().values()) == {1}


def test_no_signal_meant_for_gunicorn_ends_the_worker_that_gets_it(service: ServiceProcess) -> None:
    [worker] = children(service)
    for name in ("HUP", "USR2", "TTIN", "TTOU", "WINCH"):
        os.kill(worker, signal.Signals[f"SIG{name}"])
        assert service.post(f"after-{name}").status_code == 200
        assert children(service) == [worker], name
        assert psutil.Process(worker).status() != psutil.STATUS_STOPPED
