"""Cancel, retry, one Job per target: and the races in them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster, Fault
from tests.integration.service.conftest import BUILT, Running
from tests.waiting import wait_until

Start = Callable[..., Running]
CANCEL_TYPE = "network.notifi.lambda.build.cancel"


def hang(cluster: DevCluster) -> None:
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))


def cancel_event(running: Running, **data: str) -> Any:
    return running.http.post(
        "/events",
        json=data,
        headers={"Ce-Id": "cancel", "Ce-Source": "s", "Ce-Type": CANCEL_TYPE},
    )


def test_a_queued_build_is_cancelled_out_of_the_queue(cluster: DevCluster, start: Start) -> None:
    running = start(worker_count=1, worker_count_max=1)
    hang(cluster)
    running.post(0)
    wait_until(lambda: running.stats()["busy_workers"] == 1, "the worker to hang")
    running.post(1)
    answer = running.http.delete("/async-jobs/1")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert running.stats()["cancelled_total"] == 1
    assert running.http.delete("/async-jobs/1").json["code"] == "already_finished"
    cluster.clear_faults()
    running.wait_for(0, *BUILT)
    assert len(cluster.jobs()) == 1


def test_a_build_cancelled_while_its_job_is_being_created_leaves_no_job(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    cluster.add_fault(Fault("latency", verb="create", resource="jobs", seconds=0.3))
    running.post(1)
    wait_until(lambda: running.stats()["busy_workers"] == 1, "the attempt")
    answer = running.http.delete("/async-jobs/1")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")
    assert running.stats()["cancelled_total"] == 1


def test_a_build_with_a_job_is_cancelled_by_deleting_it_with_its_pods(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    running.post(1)
    running.wait_for(1, *BUILT)
    answer = running.http.delete("/async-jobs/1")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")
    assert running.http.delete("/async-jobs/1").status_code == 409
    assert running.http.get("/async-jobs/1").json["state"] == "cancelled"


@pytest.mark.parametrize("attempt", range(5))
def test_cancels_racing_with_creation_never_leave_a_job_behind(
    cluster: DevCluster, start: Start, attempt: int
) -> None:
    running = start()
    cluster.add_fault(Fault("latency", verb="create", resource="jobs", seconds=0.003 * attempt))

    def race(number: int) -> Any:
        client = running.app.test_client()
        client.post(
            "/events",
            json={"parser_id": "p"},
            headers={
                "Ce-Id": f"r{number}",
                "Ce-Source": "s",
                "Ce-Type": "network.notifi.lambda.build.start",
            },
        )
        return client.delete(f"/async-jobs/r{number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(race, range(24)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json["state"] for answer in answers} == {"cancelled"}
    wait_until(lambda: cluster.jobs() == [], "no Job to be left")
    running.stats()


def test_a_cancel_event_is_taken_whether_or_not_there_is_something_to_cancel(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    running.post(1, third_party_id="acme")
    running.wait_for(1, *BUILT)
    assert cancel_event(running, correlation_id="nobody").status_code == 200
    assert len(cluster.jobs()) == 1
    assert cancel_event(running, third_party_id="acme", parser_id="parser-1").status_code == 200
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")
    assert cancel_event(running, correlation_id="1").status_code == 200


def test_a_correlation_id_with_several_builds_is_ambiguous_and_names_their_jobs(
    start: Start,
) -> None:
    running = start()
    names = [running.post(n, correlation_id="shared").json["job_name"] for n in (1, 2)]
    answer = running.http.delete("/async-jobs/shared")
    assert (answer.status_code, answer.json["code"]) == (409, "ambiguous")
    assert all(name in answer.json["detail"] for name in names)
    assert running.http.delete(f"/async-jobs/{names[0]}").status_code == 200


def test_a_dead_build_goes_again_when_asked(cluster: DevCluster, start: Start) -> None:
    running = start()
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))
    running.post(1)
    running.wait_for(1, BuildState.DEAD)
    assert running.http.post("/async-jobs/nobody/retry").status_code == 404
    cluster.clear_faults()
    assert running.http.post("/async-jobs/1/retry").status_code == 200
    assert running.wait_for(1, *BUILT).attempts == 1
    assert len(cluster.jobs()) == 1
    assert running.http.post("/async-jobs/1/retry").json["code"] == "not_retryable"


def test_only_one_event_per_target_is_built_at_a_time_where_that_is_wanted(
    cluster: DevCluster, start: Start
) -> None:
    running = start(duplicate_policy="skip")
    first = running.post(1, third_party_id="acme", parser_id="p").json
    running.wait_for(1, *BUILT)
    second = running.post(2, third_party_id="acme", parser_id="p").json
    assert (second["status"], second["job_name"]) == ("skipped", first["job_name"])
    assert running.post(1, third_party_id="acme", parser_id="p").json["status"] == "duplicate"
    assert running.stats()["skipped_total"] == 1
    cluster.finish_job(first["job_name"])
    uid = cluster.jobs()[0]["metadata"]["uid"]
    third: list[dict[str, Any]] = []

    def taken() -> bool:
        third.append(running.post(3, third_party_id="acme", parser_id="p").json)
        return third[-1]["status"] == "queued"

    wait_until(taken, "the end of the first build to be seen")
    running.wait_for(3, *BUILT)
    jobs = cluster.jobs()
    assert [job["metadata"]["name"] for job in jobs] == [first["job_name"]]
    assert jobs[0]["metadata"]["uid"] != uid
