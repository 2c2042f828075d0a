"""ack=created: senders wait for their Jobs, and probes and reads never wait for senders."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until


def test_waiting_senders_take_half_of_the_threads_and_reads_still_answer_at_once(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    with ServiceProcess(
        cluster.kubeconfig,
        tmp_path,
        ack="created",
        ack_timeout_seconds=4,
        http_threads=8,
        kube_api_timeout_seconds=2,
    ) as service:
        cluster.add_fault("hang", verb="create", resource="jobs")
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(service.post, number) for number in range(12)]
            wait_until(lambda: service.stats()["accepted_total"] == 4, "four to be taken")
            begun = time.monotonic()
            assert service.get("/health").text == "ok"
            assert service.get("/ready").status_code == 200
            assert service.get("/async-jobs/0").status_code in (200, 404)
            assert time.monotonic() - begun < 2
            codes = [answer.result().json()["code"] for answer in answers]
        assert codes.count("too_many_waiting") == 8
        assert codes.count("ack_timeout") == 4
        cluster.clear_faults()
        wait_until(lambda: len(cluster.jobs()) == 4, "the builds that went on", 20)
        taken = [a.result() for a in answers if a.result().json()["code"] == "ack_timeout"]
        names = {answer.json()["correlation_id"] for answer in taken}
        assert set(cluster.jobs_per_event()) == names
        for number in names:
            assert service.post(number).status_code == 200
        assert len(cluster.jobs()) == 4


def test_a_stop_ends_the_waits_and_keeps_their_builds(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    with ServiceProcess(
        cluster.kubeconfig,
        tmp_path,
        ack="created",
        ack_timeout_seconds=60,
        journal_path=tmp_path / "journal.sqlite3",
        drain_seconds=2,
        kube_api_timeout_seconds=1,
    ) as service:
        cluster.add_fault("hang", verb="create", resource="jobs")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(service.post, 1, timeout=30)
            wait_until(lambda: service.stats()["accepted_total"] == 1, "the event to be taken")
            assert service.terminate() < 10
            assert answer.result().json()["code"] == "shutting_down"
        cluster.clear_faults()
        service.start()
        wait_until(lambda: len(cluster.jobs()) == 1, "the build")
