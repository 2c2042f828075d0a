"""The list of builds over real Jobs: what every replica shows, and steering by filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster, Fault
from tests.integration.service.conftest import BUILT, Running
from tests.waiting import wait_until

Start = Callable[..., Running]


def listed(running: Running, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = running.http.get(f"/async-jobs?{query}").json["items"]
    return items


def hang(cluster: DevCluster) -> None:
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))


def test_every_replica_lists_every_job_and_one_that_came_later_with_all_that_the_job_tells(
    cluster: DevCluster, start: Start
) -> None:
    first, second = start(), start()
    for number in range(3):
        first.post(f"a{number}", priority="high")
        second.post(f"b{number}")
    everything = sorted(f"{replica}{number}" for replica in "ab" for number in range(3))
    late = start()
    for running in (first, second, late):
        wait_until(
            lambda running=running: (  # type: ignore[misc]
                sorted(build["correlation_id"] for build in listed(running, "state=running"))
                == everything
            ),
            "all of them to run",
        )
    known = {build["correlation_id"]: build for build in listed(first)}
    for build in listed(late):
        # Only the replica that made it knows how often it tried.
        assert {**build, "attempts": 1} == {**known[build["correlation_id"]], "attempts": 1}
        assert build["accepted_at"] <= build["created_at"] <= build["started_at"]
    order = [build["correlation_id"] for build in listed(late)]
    assert order == [build["correlation_id"] for build in listed(first)]
    accepted = [build["accepted_at"] for build in listed(late)]
    assert accepted == sorted(accepted, reverse=True)


def test_a_job_that_somebody_else_gave_our_labels_breaks_no_list(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    running.post(1)
    running.wait_for(1, *BUILT)
    [ours] = cluster.jobs()
    marked = {"app.kubernetes.io/managed-by": "lambda-builder"}
    for name, labels in (("bare", marked), ("copied", ours["metadata"]["labels"])):
        pod = {"containers": [{"name": "x", "image": "x"}], "restartPolicy": "Never"}
        running.services.builds._jobs.create_job(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "labels": labels},
                "spec": {"template": {"spec": pod}},
            }
        )
    wait_until(lambda: len(running.services.builds._watcher.records()) == 3, "the Jobs to be seen")
    found = {build["job_name"]: build for build in listed(running)}
    assert found.keys() == {ours["metadata"]["name"], "copied"}
    copied = found["copied"]
    # What a label cannot hold, or nobody noted, is not known.
    assert (copied["third_party_id"], copied["correlation_id"]) == ("acme", "")
    assert (copied["accepted_at"], copied["event"]["id"]) == (None, "")
    assert listed(running, "q=bare") == []


def test_what_waits_is_listed_with_its_place_in_the_queue(
    cluster: DevCluster, start: Start
) -> None:
    running = start(worker_count=1, worker_count_max=1)
    hang(cluster)
    running.post(0)
    running.wait_for(0, BuildState.CREATING)
    for number in (1, 2):
        running.post(number)
    running.post("urgent", priority="high")
    places = {build["correlation_id"]: build["position"] for build in listed(running)}
    assert places == {"0": None, "urgent": 1, "1": 2, "2": 3}
    assert running.http.get("/async-jobs/2").json["position"] == 3
    running.http.delete("/async-jobs/1")
    assert running.http.get("/async-jobs/2").json["position"] == 2
    cluster.clear_faults()


def test_all_builds_of_a_tenant_are_cancelled_waiting_or_running_and_no_others(
    cluster: DevCluster, start: Start
) -> None:
    first, second = start(), start(worker_count=1, worker_count_max=1)
    first.post("other", third_party_id="b")
    first.post("runs", third_party_id="a")
    for name in ("other", "runs"):
        first.wait_for(name, BuildState.RUNNING)
    wait_until(lambda: len(listed(second)) == 2, "the other replica's Jobs")
    hang(cluster)
    second.post("tried", third_party_id="b")
    second.wait_for("tried", BuildState.CREATING)
    second.post("waits", third_party_id="a")
    counted = second.http.post("/async-jobs/cancel?third_party_id=a&dry_run=true").json
    assert counted == {"matched": 2, "done": 0, "refused": []}
    done = second.http.post("/async-jobs/cancel?third_party_id=a").json
    assert done == {"matched": 2, "done": 2, "refused": []}
    states = {b["correlation_id"]: b["state"] for b in listed(second)}
    assert states == {
        "other": "running",
        "runs": "cancelled",
        "tried": "creating",
        "waits": "cancelled",
    }
    again = second.http.post("/async-jobs/cancel?third_party_id=a&state=cancelled").json
    assert again == {"matched": 0, "done": 0, "refused": []}
    cluster.clear_faults()


def test_all_dead_builds_go_again_as_far_as_the_queue_has_room(
    cluster: DevCluster, start: Start
) -> None:
    running = start(max_retries=0, queue_size=3, worker_count=1, worker_count_max=1)
    cluster.add_fault(Fault("status", verb="create", resource="jobs", times=5, status=422))
    for number in range(5):
        running.post(number)
        running.wait_for(number, BuildState.DEAD)
    hang(cluster)
    running.post("tried")
    running.wait_for("tried", BuildState.CREATING)
    answer = running.http.post("/async-jobs/retry?state=dead").json
    assert (answer["matched"], answer["done"]) == (5, 3)
    assert [refusal["code"] for refusal in answer["refused"]] == ["queue_full"] * 2
    waiting = [build["correlation_id"] for build in listed(running, "state=queued")]
    assert sorted(waiting) == ["0", "1", "2"]
    cluster.clear_faults()
