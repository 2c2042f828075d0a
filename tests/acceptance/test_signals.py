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


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"])
def test_a_signal_that_does_not_stop_the_service_starts_and_ends_no_process(
    cluster: ClusterProcess, with_journal: ServiceProcess, name: str
) -> None:
    before = children(with_journal)
    cluster.add_fault("latency", verb="create", resource="jobs", seconds=0.1)
    for number in range(QUEUED):
        assert with_journal.post(number).status_code == 200
    with_journal.signal(signal.Signals[f"SIG{name}"])
    handled = f"Handling signal: {name.lower()}"
    wait_until(lambda: handled in with_journal.log_tail(), "gunicorn to hear of it")
    wait_until(lambda: len(cluster.jobs()) == QUEUED, "the queue to drain")
    assert with_journal.post("afterwards").status_code == 200
    assert children(with_journal) == before
    assert with_journal.terminate() < 30
    assert set(cluster.jobs_per_event().values()) == {1}


@pytest.mark.parametrize("name", ["HUP", "USR2", "TTIN", "TTOU", "WINCH"])
def test_a_signal_meant_for_gunicorn_does_not_end_the_worker_that_gets_it(
    service: ServiceProcess, name: str
) -> None:
    [worker] = children(service)
    os.kill(worker, signal.Signals[f"SIG{name}"])
    assert service.post("afterwards").status_code == 200
    assert children(service) == [worker]
    assert psutil.Process(worker).status() != psutil.STATUS_STOPPED
