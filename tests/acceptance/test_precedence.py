"""Events are answered first; Jobs are made all the same, however many events there are."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until


@pytest.mark.parametrize("has_journal", [False, True])
def test_jobs_are_made_and_told_of_while_events_never_cease(
    tmp_path: Path, has_journal: bool
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3"} if has_journal else {}
    enough, failed, answered = threading.Event(), list[Exception](), [0] * 8
    with (
        ClusterProcess(tmp_path) as cluster,
        ServiceProcess(cluster.kubeconfig, tmp_path, queue_size=100_000, **settings) as service,
    ):

        def send(sender: int) -> None:
            try:
                with requests.Session() as session:
                    while not enough.is_set():
                        answer = service.post(f"{sender}-{answered[sender]}", session=session)
                        answer.raise_for_status()
                        answered[sender] += 1
            except requests.RequestException as error:
                failed.append(error)

        senders = [threading.Thread(target=send, args=(each,), daemon=True) for each in range(8)]
        for sender in senders:
            sender.start()
        try:
            wait_until(
                lambda: service.stats()["succeeded_total"] >= 20, "Jobs under load", 60, every=0.2
            )
        finally:
            enough.set()
            for sender in senders:
                sender.join(20)
        assert (failed, any(sender.is_alive() for sender in senders)) == ([], False)
        assert min(answered) > 0
