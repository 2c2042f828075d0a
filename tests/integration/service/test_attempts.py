"""What becomes of a build whose Job is not made at the first try."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.journal import SqliteJournal
from lambda_builder.pipeline.runner import BuildRunner
from tests.integration.service.conftest import BUILT, Running
from tests.waiting import wait_until

Start = Callable[..., Running]


def creations(cluster: DevCluster) -> int:
    return sum(r.verb == "create" and r.resource == "jobs" for r in cluster.requests())


def test_the_time_from_acceptance_to_the_job_is_measured_over_all_attempts(
    cluster: DevCluster, start: Start
) -> None:
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=500, times=2))
    running = start(retry_base_seconds=0.2, retry_max_seconds=0.2)
    running.post(1)
    running.wait_for(1, BuildState.CREATED, BuildState.RUNNING)
    wait_until(lambda: running.metric("async_job_creation_delay_seconds_count") == 1, "the time")
    assert running.metric("async_job_creation_delay_seconds_sum") > 0.0
    wait_until(lambda: running.metric("build_job_start_seconds_count") == 1, "the pod to run")
    wait_until(lambda: running.metric("build_jobs_oldest_running_seconds") > 0, "its age")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", verb="create", resource="jobs", times=2, status=503),
        Fault(
            "status",
            verb="create",
            resource="jobs",
            times=2,
            status=500,
            message="Internal error occurred: failed calling webhook",
        ),
        Fault("cut", verb="create", resource="jobs", times=2),
    ],
)
def test_a_transient_failure_is_tried_again_until_the_job_is_made(
    cluster: DevCluster, start: Start, fault: Fault
) -> None:
    running = start()
    cluster.add_fault(fault)
    assert running.post(1).status_code == 200
    result = running.wait_for(1, *BUILT)
    assert result.attempts == 3
    assert result.error is None
    assert running.stats()["retried_total"] == 2
    assert len(cluster.jobs()) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("status", verb="create", resource="jobs", times=5, status=429), "rate_limited"),
        (
            Fault(
                "status",
                verb="create",
                resource="jobs",
                times=5,
                status=403,
                message='jobs.batch "x" is forbidden: exceeded quota: builds, requested: 1',
            ),
            "quota_exceeded",
        ),
    ],
)
def test_too_much_at_this_moment_costs_a_build_none_of_its_attempts(
    cluster: DevCluster, start: Start, fault: Fault, code: str
) -> None:
    running = start(max_retries=1)
    cluster.add_fault(fault)
    running.post(1)
    result = running.wait_for(1, *BUILT, timeout=30)
    assert result.attempts == 1
    assert running.stats()["retried_by_reason"] == {code: 5}
    assert creations(cluster) == 6


def test_a_full_quota_is_waited_for_in_order_with_few_calls_and_everybody_is_told(
    cluster: DevCluster, start: Start
) -> None:
    running = start(max_retries=0, queue_size=20)
    message = 'jobs.batch "x" is forbidden: exceeded quota: builds, requested: 1, used: 5'
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message=message))
    for number in range(20):
        assert running.post(number).status_code == 200
    wait_until(lambda: creations(cluster) >= 7, "some probes")
    assert running.stats()["capacity_blocked"] >= 19
    assert running.metric("async_job_capacity_blocked") >= 19
    # Now and then it is the one that tries.
    answer = running.wait_for("0", BuildState.RETRYING)
    assert answer.attempts == 0
    assert answer.error is not None
    assert answer.error.code == "quota_exceeded"
    assert running.http.delete("/async-jobs/19").json["state"] == "cancelled"
    running.post("fills")
    refused = running.post("refused")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
    assert creations(cluster) < 15
    cluster.clear_faults()
    wait_until(lambda: len(cluster.jobs()) == 20, "all of them", 40)
    assert running.stats()["dead_total"] == 0
    assert [running.result(n).attempts for n in range(19)] == [1] * 19


def test_an_attempt_is_put_off_as_long_as_the_api_asks(cluster: DevCluster, start: Start) -> None:
    running = start()
    cluster.add_fault(
        Fault("status", verb="create", resource="jobs", times=1, status=500, retry_after=2)
    )
    begun = time.monotonic()
    running.post(1)
    running.wait_for(1, *BUILT)
    assert time.monotonic() - begun >= 2


def test_a_call_that_there_is_no_time_for_is_not_tried_again_at_once(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    running.service._client.set_deadline(time.monotonic() - 1)
    for number in range(3):
        running.post(number)
    wait_until(lambda: running.stats()["delayed"] == 3, "all to be put off")
    assert running.stats()["retried_total"] <= 6
    assert creations(cluster) == 0


def test_a_build_that_used_up_its_attempts_in_killed_processes_is_not_dead_if_its_job_exists(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    first = start()
    first.post(1)
    request = first.wait_for(1, *BUILT).request
    first.service.shutdown()
    path = tmp_path / "journal.sqlite3"
    journal = SqliteJournal(path, keep_seconds=60, keep_max=100)
    journal.open()
    journal.record([request])
    journal.attempt(request.event_hash, 4)
    assert journal.close(5)
    second = start(journal_path=path)
    assert second.wait_for(1, *BUILT, BuildState.DEAD).state in BUILT
    assert len(cluster.jobs()) == 1


def test_while_the_api_is_known_to_be_away_a_full_queue_says_to_come_back_in_a_minute(
    cluster: DevCluster, start: Start
) -> None:
    running = start(queue_size=2, worker_count=1, worker_count_max=1)
    for number in range(20):
        wait_until(lambda n=number: running.post(n).status_code == 200)  # type: ignore[misc]
    wait_until(lambda: running.stats()["created_total"] == 20, "a good rate")
    cluster.outage()
    running.post("a")
    wait_until(lambda: not running.stats()["api_available"], "the outage to be seen")
    wait_until(lambda: running.post(f"more-{time.monotonic()}").status_code == 503)
    assert running.post("refused").headers["Retry-After"] == "60"


def test_a_build_whose_failures_do_not_end_is_dead_after_its_attempts(
    cluster: DevCluster, start: Start
) -> None:
    running = start(max_retries=2)
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=500))
    running.post(1)
    result = running.wait_for(1, BuildState.DEAD)
    assert result.attempts == 3
    assert creations(cluster) == 3
    assert result.error is not None
    assert result.error.code == "server_error"
    assert "gave up after 3 attempts" in result.error.message
    # The outcome is known before it is counted.
    wait_until(lambda: running.metric('async_jobs_total{outcome="dead"}') == 1, "the count")
    assert running.metric('async_job_retries_total{reason="server_error"}') == 2


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (403, 'User "x" cannot create resource "jobs"', "forbidden"),
        (422, "spec.template.spec.containers[0].image: Required value", "invalid_manifest"),
        (400, 'admission webhook "p" denied the request: no', "webhook_denied"),
        (404, 'namespaces "knative-lambda" not found', "namespace_not_found"),
    ],
)
def test_a_permanent_failure_is_dead_at_once(
    cluster: DevCluster, start: Start, status: int, message: str, code: str
) -> None:
    running = start()
    cluster.add_fault(
        Fault("status", verb="create", resource="jobs", status=status, message=message)
    )
    running.post(1)
    result = running.wait_for(1, BuildState.DEAD)
    assert result.error is not None
    assert result.error.code == code
    assert creations(cluster) == 1
    answer = running.http.get("/async-jobs/1").json
    assert (answer["state"], answer["error"]["code"]) == ("dead", code)


def test_a_panic_fails_its_build_alone_and_is_told(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    real = BuildRunner.create

    def faulty(self: BuildRunner, request: Any, manifest: Any) -> Any:
        if request.event_id == "bad":
            raise ZeroDivisionError("a fault injected into a worker")
        return real(self, request, manifest)

    monkeypatch.setattr(BuildRunner, "create", faulty)
    running.post("bad")
    for number in range(10):
        running.post(number)
    result = running.wait_for("bad", BuildState.DEAD)
    assert result.error is not None
    assert result.error.code == "panic"
    assert "a fault injected into a worker" in result.error.message
    wait_until(lambda: len(cluster.jobs()) == 10, "the other builds")
    assert running.stats()["panics_total"] == 1
    assert running.stats()["worker_count"] == 5
    assert running.metric("async_worker_panics_total") == 1
    assert running.metric('async_worker_errors_total{reason="panic"}') == 1


def test_the_build_of_a_thread_that_died_is_built_by_another(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    real, deaths = BuildRunner.create, []

    def deadly(self: BuildRunner, request: Any, manifest: Any) -> Any:
        if len(deaths) < 2:
            deaths.append(request)
            raise SystemExit
        return real(self, request, manifest)

    monkeypatch.setattr(BuildRunner, "create", deadly)
    running.post(1)
    assert running.wait_for(1, *BUILT, timeout=30).attempts == 3
    wait_until(lambda: running.stats()["worker_count"] == 5, "the threads to be replaced")
    assert running.stats()["panics_total"] == 2


def test_a_build_that_always_kills_its_thread_runs_out_of_attempts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(max_retries=1)

    def deadly(self: BuildRunner, request: Any, manifest: Any) -> Any:
        raise SystemExit

    monkeypatch.setattr(BuildRunner, "create", deadly)
    running.post(1)
    assert running.wait_for(1, BuildState.DEAD).attempts == 2


@pytest.mark.parametrize("kind", ["cut_after", "hang_after"])
def test_an_answer_that_was_lost_makes_one_job_and_a_success(
    cluster: DevCluster, start: Start, kind: str
) -> None:
    running = start(kube_api_timeout_seconds=1)
    cluster.add_fault(Fault(kind, verb="create", resource="jobs", times=1))
    running.post(1)
    result = running.wait_for(1, *BUILT)
    assert len(cluster.jobs()) == 1
    assert result.job_uid == cluster.jobs()[0]["metadata"]["uid"]


def test_a_build_given_up_after_a_lost_answer_is_not_dead_if_its_job_exists(
    cluster: DevCluster, start: Start
) -> None:
    running = start(max_retries=0)
    cluster.add_fault(Fault("cut_after", verb="create", resource="jobs", times=1))
    running.post(1)
    running.wait_for(1, *BUILT)
    assert len(cluster.jobs()) == 1


def test_a_foreign_job_of_the_same_name_is_left_alone_and_told(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    running.post(1)
    job = running.wait_for(1, *BUILT)
    name = job.request.job_name
    labels = cluster.job(name)["metadata"]["labels"]
    running.service.shutdown()
    other = start()
    patch = {"metadata": {"labels": {"build.notifi.network/event-hash": "0" * 32}}}
    other.service._client.request(
        "test",
        "PATCH",
        f"/apis/batch/v1/namespaces/knative-lambda/jobs/{name}",
        body=patch,
        content_type="application/merge-patch+json",
    )
    known = other.services.acceptance._job_of
    wait_until(lambda: known(job.request) is None, "the watch to show it")
    other.post(1)
    result = other.wait_for(1, BuildState.DEAD)
    assert labels["build.notifi.network/event-hash"] != "0" * 32
    assert result.error is not None
    assert result.error.code == "name_conflict"
    assert cluster.job(name) is not None


def test_an_outage_costs_no_attempt_and_is_probed_by_one_at_a_time(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    cluster.outage()
    for number in range(50):
        assert running.post(number).status_code == 200
    wait_until(lambda: not running.stats()["api_available"], "the outage to be seen")
    assert running.http.get("/health").status_code == 200
    assert running.stats()["dead_total"] == 0
    cluster.restore()
    wait_until(lambda: len(cluster.jobs()) == 50, "the backlog to flow", 20)
    for number in range(50):
        assert running.wait_for(number, *BUILT).attempts == 1
    assert creations(cluster) == 50


def test_twenty_deliveries_of_one_event_at_once_make_one_job_and_all_name_it(
    cluster: DevCluster, start: Start
) -> None:
    running = start()

    def deliver(_: int) -> Any:
        client = running.app.test_client()
        return client.post(
            "/events",
            json={"parser_id": "p"},
            headers={
                "Ce-Id": "one",
                "Ce-Source": "s",
                "Ce-Type": "network.notifi.lambda.build.start",
            },
        )

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(deliver, range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json["job_name"] for answer in answers}) == 1
    statuses = sorted(answer.json["status"] for answer in answers)
    assert statuses == ["duplicate"] * 19 + ["queued"]
    running.wait_for("one", *BUILT)
    assert creations(cluster) == 1


def test_duplicates_are_answered_even_when_the_queue_is_full(
    cluster: DevCluster, start: Start
) -> None:
    running = start(queue_size=1, worker_count=1, worker_count_max=1)
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
    running.post(0)
    wait_until(lambda: running.stats()["busy_workers"] == 1, "the worker to hang")
    assert running.post(1).status_code == 200
    assert running.post(2).status_code == 503
    assert running.post(1).json["status"] == "duplicate"
    cluster.clear_faults()
    running.wait_for(1, *BUILT)


def test_a_batch_is_accepted_whole_or_not_at_all(cluster: DevCluster, start: Start) -> None:
    running = start(queue_size=3, worker_count=1, worker_count_max=1)
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))

    def batch(*ids: str) -> Any:
        events = [
            {
                "specversion": "1.0",
                "id": number,
                "source": "s",
                "type": "network.notifi.lambda.build.start",
                "data": {"parser_id": "p"},
            }
            for number in ids
        ]
        return running.http.post(
            "/events", json=events, content_type="application/cloudevents-batch+json"
        )

    answer = batch("a", "b", "a")
    assert answer.status_code == 200
    assert [one["event_id"] for one in answer.json["results"]] == ["a", "b", "a"]
    wait_until(lambda: running.stats()["busy_workers"] == 1, "the worker to hang")
    assert batch("c", "d", "e").status_code == 503
    assert running.result("c") is None
    assert batch("c", "d").status_code == 200
    assert batch("1", "2", "3", "4").status_code == 400
    cluster.clear_faults()
    wait_until(lambda: len(cluster.jobs()) == 4, "the Jobs of what was accepted")


def test_a_refused_event_can_be_looked_at_afterwards_without_its_values(start: Start) -> None:
    running = start()
    running.post(1, parser_id=None, build_args={"TOKEN": "hunter2"})
    running.http.post("/events", data=b"{", headers={"Ce-Type": "x"})
    answer = running.http.get("/events/rejected")
    assert [item["code"] for item in answer.json["items"]] == [
        "unsupported_event_type",
        "invalid_data",
    ]
    assert "parser_id" in answer.json["items"][1]["detail"]
    assert "hunter2" not in answer.text
    assert running.stats()["rejected_total"] == 2
    assert running.metric('cloudevents_rejected_total{code="invalid_data"}') == 1
