"""The life of builds with two replicas: told once each, capped, cancelled, one per target."""

from __future__ import annotations

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.http_sink import HttpSink
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    running = HttpSink()
    yield running
    running.close()


def replica(cluster: ClusterProcess, folder: Path, name: str, **settings: object) -> ServiceProcess:
    return ServiceProcess(
        cluster.kubeconfig, folder, journal_path=folder / f"{name}.sqlite3", **settings
    )


def told(sink: HttpSink) -> dict[str, list[str]]:
    """Return the kinds of news by subject, repetitions left out, in the order they came."""
    news: dict[str, list[str]] = defaultdict(list)
    for headers, _ in list(sink.events):
        kind = headers["ce-type"].rsplit(".", 1)[1]
        if kind not in news[headers["ce-subject"]]:
            news[headers["ce-subject"]].append(kind)
    return news


def test_every_build_is_told_from_start_to_end_though_its_leader_is_killed(
    cluster: ClusterProcess, tmp_path: Path, sink: HttpSink
) -> None:
    with (
        replica(cluster, tmp_path, "a", sink_url=sink.url) as first,
        replica(cluster, tmp_path, "b", sink_url=sink.url) as second,
    ):
        names = [first.post(number).json()["job_name"] for number in range(10)]
        names += [second.post(number).json()["job_name"] for number in range(10, 20)]
        wait_until(lambda: "complete" in sink.types(), "the first completion")
        first.kill()
        names += [second.post(number).json()["job_name"] for number in range(20, 30)]
        first.start()

        def all_told() -> bool:
            news = told(sink)
            return all(set(news[name]) >= {"started", "complete"} for name in names)

        wait_until(all_told, "all to be told", 60)
        for name, kinds in told(sink).items():
            assert [k for k in kinds if k != "accepted"] == ["started", "complete"], name
        ids = [headers["ce-id"] for headers, _ in sink.events]
        assert len(set(ids)) == 90


def test_a_build_is_followed_from_any_replica_to_its_end_and_says_why_it_failed(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    cluster.add_fault("fail", name_prefix="build-customer-parser-bad", status=7)
    cluster.add_fault(
        "refuse_pods", name_prefix="build-customer-parser-refused", message="violates PodSecurity"
    )
    with replica(cluster, tmp_path, "a") as first, replica(cluster, tmp_path, "b") as second:
        for name in ("good", "bad", "refused"):
            assert first.post(name).status_code == 200
        for service in (first, second):
            wait_until(lambda s=service: state(s, "good") == "succeeded", "the good one")  # type: ignore[misc]
            wait_until(lambda s=service: state(s, "bad") == "failed", "the bad one")  # type: ignore[misc]
            wait_until(
                lambda s=service: "7" in str(build(s, "bad")["error"]),  # type: ignore[misc]
                "its exit code",
            )
            wait_until(
                lambda s=service: "violates PodSecurity" in str(build(s, "refused")["error"]),  # type: ignore[misc]
                "the reason why its pod was refused",
                30,
            )
            assert build(service, "refused")["state"] == "created"
            assert build(service, "refused")["failure_category"] == "platform"
            assert build(service, "bad")["failure_category"] == "dockerfile"
            wait_until(
                lambda s=service: str(build(s, "good")["image_digest"]).startswith("sha256:"),  # type: ignore[misc]
                "the digest",
            )
            wait_until(
                lambda s=service: (
                    'build_failures_total{category="dockerfile"} 1.0'  # type: ignore[misc]
                    in s.get("/metrics").text
                ),
                "the failure to be counted",
            )
            assert build(service, "good")["finished_at"]
        assert first.stats()["failed_total"] == 1
        assert first.post("bad").json()["state"] == "failed"
        cluster.clear_faults()
        assert second.post("other").status_code == 200


def build(service: ServiceProcess, build_id: str) -> dict[str, object]:
    answer: dict[str, object] = service.get(f"/async-jobs/{build_id}").json()
    return answer


def state(service: ServiceProcess, build_id: str) -> object:
    return build(service, build_id)["state"]


def test_a_build_of_another_replica_is_cancelled_with_its_job(tmp_path: Path) -> None:
    with (
        ClusterProcess(tmp_path, "--run-seconds", "60", "--pending-seconds", "0.05") as cluster,
        replica(cluster, tmp_path, "a") as first,
        replica(cluster, tmp_path, "b") as second,
    ):
        name = first.post(1).json()["job_name"]
        wait_until(lambda: len(cluster.jobs()) == 1, "the Job")
        answer = requests.delete(f"{second.url}/async-jobs/{name}", timeout=10)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        wait_until(lambda: cluster.jobs() == [], "the Job to be gone")
        wait_until(lambda: state(first, name) == "cancelled", "the other replica to see it")


def test_two_replicas_racing_for_one_target_make_one_job_at_a_time(tmp_path: Path) -> None:
    with (
        ClusterProcess(tmp_path, "--run-seconds", "60", "--pending-seconds", "0.05") as cluster,
        replica(cluster, tmp_path, "a", duplicate_policy="skip") as first,
        replica(cluster, tmp_path, "b", duplicate_policy="skip") as second,
    ):

        def send(number: int) -> requests.Response:
            service = (first, second)[number % 2]
            return service.post(number, parser_id="p", third_party_id="t")

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(send, range(32)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["job_name"] for answer in answers}) == 1
        wait_until(
            lambda: all(s.stats()["queue_size"] == 0 for s in (first, second)), "both to be done"
        )
        wait_until(
            lambda: all(s.stats()["busy_workers"] == 0 for s in (first, second)), "the workers"
        )
        assert len(cluster.jobs()) == 1
        skipped = first.stats()["skipped_total"] + second.stats()["skipped_total"]
        assert skipped == 31
        assert first.stats()["dead_total"] + second.stats()["dead_total"] == 0


def test_the_most_active_jobs_are_never_passed_and_the_rest_waits_in_order(tmp_path: Path) -> None:
    with (
        ClusterProcess(tmp_path, "--run-seconds", "0.3", "--pending-seconds", "0.05") as cluster,
        replica(cluster, tmp_path, "a", max_active_jobs=3) as service,
    ):
        most, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                jobs = cluster.jobs()
                ended = [j for j in jobs if j.get("status", {}).get("completionTime")]
                most[0] = max(most[0], len(jobs) - len(ended))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            for number in range(15):
                assert service.post(number).status_code == 200
            wait_until(lambda: service.stats()["workers_without_room"] > 0, "the wait to show")
            wait_until(lambda: len(cluster.jobs()) == 15, "all the Jobs", 30)
        finally:
            done.set()
            watching.join()
        assert most[0] == 3
        created = [r["name"] for r in cluster.requests() if r["verb"] == "create"]
        numbers = [int(name.split("-")[3]) for name in created if name.startswith("build-customer")]
        assert sorted(numbers) == list(range(15))
        # Three workers create at a time, so that neighbours may pass each other, but no more.
        assert all(abs(number - place) <= 2 for place, number in enumerate(numbers)), numbers


def test_a_log_is_streamed_until_the_build_ends(tmp_path: Path) -> None:
    with (
        ClusterProcess(tmp_path, "--run-seconds", "1", "--pending-seconds", "0.2") as cluster,
        replica(cluster, tmp_path, "a") as service,
    ):
        service.post(1)
        begun = time.monotonic()
        answer = service.get("/async-jobs/1/logs?follow=true", stream=True)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.text
        assert time.monotonic() - begun > 0.5
        assert len(text.splitlines()) > 2
        assert service.get("/async-jobs/nobody/logs").status_code == 404


def test_an_open_log_stream_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    with (
        ClusterProcess(tmp_path, "--run-seconds", "600", "--pending-seconds", "0.05") as cluster,
        replica(cluster, tmp_path, "a") as service,
    ):
        service.post(1)
        wait_until(lambda: state(service, "1") == "running", "the build to run")
        with requests.get(
            f"{service.url}/async-jobs/1/logs?follow=true", stream=True, timeout=30
        ) as answer:
            next(answer.iter_content(16))
            begun = time.monotonic()
            service.signal(signal.SIGTERM)
            for _ in answer.iter_content(1024):
                pass
            assert time.monotonic() - begun < 5
        assert service.wait(15) == 0
        assert len(cluster.jobs()) == 1
