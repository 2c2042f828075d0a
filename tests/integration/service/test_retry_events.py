"""Retry events: what they mean, and that one that was taken is carried out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster, Fault
from tests.http_sink import HttpSink
from tests.integration.service.conftest import BUILT, Running
from tests.waiting import wait_until

Start = Callable[..., Running]
RETRY_TYPE = "network.notifi.lambda.build.retry"
UPSTREAM = "io.knative.lambda.command.build."
_IDS = itertools.count()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_builder.steering.command_events._FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("lambda_builder.steering.command_events._LONGEST_PAUSE_SECONDS", 0.05)


def retry(running: Running, event_type: str = RETRY_TYPE, **data: str) -> Any:
    answer = running.http.post(
        "/events",
        json=data,
        headers={"Ce-Id": f"retry-{next(_IDS)}", "Ce-Source": "s", "Ce-Type": event_type},
    )
    assert (answer.status_code, answer.json["status"]) == (200, "accepted")
    return answer


def idle(running: Running) -> bool:
    """Whether no command is kept any more."""
    return not running.services.command_events._kept


def die(cluster: DevCluster, running: Running, number: int | str, **data: str) -> None:
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))
    running.post(number, **data)
    running.wait_for(number, BuildState.DEAD)
    cluster.clear_faults()


def fail(cluster: DevCluster, running: Running, number: int | str, **data: str) -> str:
    name = str(running.post(number, **data).json["job_name"])
    running.wait_for(number, *BUILT)
    cluster.finish_job(name, succeeded=False)
    running.wait_for(number, BuildState.FAILED)
    return name


def uid(cluster: DevCluster, name: str) -> str:
    job = cluster.job(name)
    return "" if job is None else str(job["metadata"]["uid"])


def test_a_dead_build_goes_again_by_an_event(cluster: DevCluster, start: Start) -> None:
    running = start()
    die(cluster, running, 1)
    retry(running, correlation_id="1")
    assert running.wait_for(1, *BUILT).attempts == 1
    wait_until(lambda: idle(running), "the command to be over")
    assert len(cluster.jobs()) == 1
    assert running.stats()["accepted_total"] == 2  # as POST …/retry counts it


def test_a_failed_build_goes_again_with_a_new_job(cluster: DevCluster, start: Start) -> None:
    running = start()
    name = fail(cluster, running, 1)
    first = uid(cluster, name)
    retry(running, job_name=name)
    wait_until(lambda: uid(cluster, name) not in ("", first), "another Job")
    running.wait_for(1, *BUILT)


def test_upstreams_retry_means_the_newest_build_of_a_target_and_no_older_one(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    target = {"third_party_id": "team-1", "parser_id": "resize"}
    die(cluster, running, "older", **target)
    die(cluster, running, "newer", **target)
    retry(running, f"{UPSTREAM}retry", name="resize", namespace="team-1")
    running.wait_for("newer", *BUILT)
    wait_until(lambda: idle(running), "the command to be over")
    older = running.result("older")
    assert older is not None
    assert older.state is BuildState.DEAD


def test_all_builds_of_a_correlation_id_go_again_each_once_though_the_queue_is_small(
    cluster: DevCluster, start: Start
) -> None:
    running = start(queue_size=2, worker_count=1, worker_count_max=1, result_max=100)
    names = []
    for number in range(5):
        cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))
        names.append(running.post(number, correlation_id="order").json["job_name"])
        wait_until(lambda: running.stats()["dead_total"] == len(names), "the build to die")
    before = len(cluster.requests())
    retry(running, correlation_id="order")
    wait_until(lambda: running.stats()["dead_total"] == 10, "each to die once more")
    wait_until(lambda: idle(running), "the command to be over")
    made = [
        r
        for r in cluster.requests()[before:]
        if (r.verb, r.resource, r.status) == ("create", "jobs", 403)
    ]
    assert len(made) == 5
    cluster.clear_faults()


def test_a_retry_waits_until_the_api_is_back(cluster: DevCluster, start: Start) -> None:
    running = start(kube_api_timeout_seconds=1)
    die(cluster, running, 1)
    cluster.outage()
    retry(running, correlation_id="1")
    running.post(2)
    wait_until(lambda: not running.service._health.available, "the outage to be seen")
    cluster.restore()
    running.wait_for(1, *BUILT, timeout=30)


def test_a_retry_that_comes_before_its_builds_end_is_seen_here_waits_for_it(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    name = running.post(1).json["job_name"]
    running.wait_for(1, *BUILT)
    first = uid(cluster, name)
    retry(running, correlation_id="1")
    kept = next(iter(running.services.command_events._kept.values()))
    wait_until(lambda: kept.tries > 1, "the build to be found running")
    cluster.finish_job(name, succeeded=False)
    wait_until(lambda: uid(cluster, name) not in ("", first), "another Job")


@pytest.mark.parametrize("by", ["job_name", "correlation_id", "target"])
def test_a_build_of_another_replica_goes_again_from_here(
    cluster: DevCluster, start: Start, by: str
) -> None:
    first, second = start(), start()
    name = fail(cluster, first, 1)
    old = uid(cluster, name)
    target = {"third_party_id": "acme", "parser_id": "parser-1"}
    means = {"job_name": {"job_name": name}, "correlation_id": {"correlation_id": "1"}}
    retry(second, **means.get(by, target))
    wait_until(lambda: uid(cluster, name) not in ("", old), "another Job")
    second.wait_for(1, *BUILT)


def test_a_build_of_another_replica_is_not_lost_when_its_job_goes_slowly(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_builder.steering.execution._DELETE_SECONDS", 0.05)
    first, second = start(), start()
    name = fail(cluster, first, 1)
    first.service.shutdown()
    old = uid(cluster, name)
    linger(cluster, name)
    retry(second, job_name=name)
    kept = next(iter(second.services.command_events._kept.values()))
    wait_until(lambda: kept.tries > 1, "the Job to be found going")
    assert uid(cluster, name) == old
    linger(cluster, name, False)
    wait_until(lambda: uid(cluster, name) not in ("", old), "another Job")


def linger(cluster: DevCluster, name: str, wanted: bool = True) -> None:
    """Let a Job that is deleted stay until it may go."""
    url = f"{cluster.url}/apis/batch/v1/namespaces/knative-lambda/jobs/{name}"
    body = {"metadata": {"finalizers": ["example.org/slow"] if wanted else []}}
    headers = {"Content-Type": "application/merge-patch+json"}
    requests.patch(url, json=body, headers=headers, timeout=5).raise_for_status()


def test_a_retry_that_was_taken_is_carried_out_after_a_restart(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.sqlite3"
    running = start(journal_path=journal, kube_api_timeout_seconds=1)
    die(cluster, running, 1)
    cluster.outage()
    running.post(2)
    wait_until(lambda: not running.service._health.available, "the outage to be seen")
    retry(running, correlation_id="1")
    running.service.shutdown()
    cluster.restore()
    again = start(journal_path=journal)
    again.wait_for(1, *BUILT, timeout=30)
    wait_until(lambda: idle(again), "the command to be over")
    # It is forgotten after that, with the next change that is written.
    commands = again.services.command_events._journal.commands
    wait_until(lambda: commands() == [], "the command to be forgotten")


# -- the family ------------------------------------------------------------------------------------


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    running = HttpSink()
    yield running
    running.close()


def types(sink: HttpSink) -> list[str]:
    return [headers["ce-type"] for headers, _ in list(sink.events)]


@pytest.mark.parametrize("restarted", [False, True], ids=["another replica", "a restart"])
def test_an_upstream_build_is_told_of_in_its_family_also_after_who_took_it_has_gone(
    cluster: DevCluster, start: Start, sink: HttpSink, tmp_path: Path, restarted: bool
) -> None:
    first = start(sink_url=sink.url, journal_path=tmp_path / "first.sqlite3")
    answer = first.http.post(
        "/events",
        json={"name": "resize", "namespace": "team-1"},
        headers={"Ce-Id": "1", "Ce-Source": "s", "Ce-Type": f"{UPSTREAM}start"},
    )
    name = answer.json["job_name"]
    assert name.startswith("build-team-1-resize-")
    first.wait_for(1, BuildState.RUNNING)
    first.service.shutdown()
    start(
        sink_url=sink.url,
        journal_path=tmp_path / ("first.sqlite3" if restarted else "second.sqlite3"),
    )
    cluster.finish_job(name)
    lifecycle = "io.knative.lambda.lifecycle.build."
    wait_until(lambda: f"{lifecycle}completed" in types(sink), "the end to be told")
    assert set(types(sink)) == {f"{lifecycle}{k}" for k in ("accepted", "started", "completed")}
    _, data = sink.events[-1]
    assert (data["name"], data["namespace"], data["jobName"]) == ("resize", "team-1", name)
    assert data["imageURI"] == data["image"]
    assert data["completedAt"] >= data["startedAt"]
    assert data["duration"].endswith("s")
    assert "error" not in data
