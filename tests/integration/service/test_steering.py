"""Cancel, retry, one Job per target: and the races in them."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
        headers={"Ce-Id": uuid.uuid4().hex, "Ce-Source": "s", "Ce-Type": CANCEL_TYPE},
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
    watcher = running.services.builds._watcher
    wait_until(lambda: watcher.by_name(first["job_name"]), "the watch to show the Job")
    second = running.post(2, third_party_id="acme", parser_id="p").json
    assert (second["status"], second["job_name"]) == ("skipped", first["job_name"])
    assert running.post(1, third_party_id="acme", parser_id="p").json["status"] == "duplicate"
    assert running.stats()["skipped_total"] == 1
    cluster.finish_job(first["job_name"])
    uid = cluster.jobs()[0]["metadata"]["uid"]
    sent = itertools.count(3)  # an event that was skipped is a duplicate when it comes again

    def taken() -> bool:
        answer = running.post(next(sent), third_party_id="acme", parser_id="p").json
        return bool(answer["status"] == "queued")

    wait_until(taken, "the end of the first build to be seen")
    running.wait_for(next(sent) - 1, *BUILT)
    jobs = cluster.jobs()
    assert [job["metadata"]["name"] for job in jobs] == [first["job_name"]]
    assert jobs[0]["metadata"]["uid"] != uid


# -- several events of one Job name ----------------------------------------------------------------


def second_of_target(cluster: DevCluster, running: Running, **target: str) -> str:
    """Let a first build of a target succeed and a second one run; returns their Job's name."""
    name = str(running.post(1, **target).json["job_name"])
    running.wait_for(1, *BUILT)
    cluster.finish_job(name)
    running.wait_for(1, BuildState.SUCCEEDED)
    assert running.post(2, **target).json["job_name"] == name
    running.wait_for(2, *BUILT)
    return name


TARGET = {"third_party_id": "acme", "parser_id": "p"}


def test_a_cancel_by_job_name_means_the_newest_build_of_that_name(
    cluster: DevCluster, start: Start
) -> None:
    running = start(duplicate_policy="skip")
    name = second_of_target(cluster, running, **TARGET)
    answer = running.http.delete(f"/async-jobs/{name}")
    assert (answer.status_code, answer.json["event"]["id"]) == (200, "2")
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")


def test_a_cancel_event_by_job_name_means_the_newest_build_of_that_name(
    cluster: DevCluster, start: Start
) -> None:
    running = start(duplicate_policy="skip")
    name = second_of_target(cluster, running, **TARGET)
    assert cancel_event(running, job_name=name).status_code == 200
    running.wait_for(2, BuildState.CANCELLED)
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")
    assert running.wait_for(1, BuildState.SUCCEEDED)


def test_a_retry_by_job_name_means_the_newest_build_of_that_name(
    cluster: DevCluster, start: Start
) -> None:
    running = start(duplicate_policy="skip")
    name = str(running.post(1, **TARGET).json["job_name"])
    running.wait_for(1, *BUILT)
    cluster.finish_job(name, succeeded=False)
    running.wait_for(1, BuildState.FAILED)
    running.post(2, **TARGET)
    running.wait_for(2, *BUILT)
    assert running.http.post(f"/async-jobs/{name}/retry").json["code"] == "not_retryable"
    cluster.finish_job(name, succeeded=False)
    running.wait_for(2, BuildState.FAILED)
    answer = running.http.post(f"/async-jobs/{name}/retry")
    assert (answer.status_code, answer.json["event"]["id"]) == (200, "2")


def test_a_job_name_means_the_build_of_another_replica_that_has_the_job_now(
    cluster: DevCluster, start: Start
) -> None:
    first, second = start(duplicate_policy="skip"), start(duplicate_policy="skip")
    name = str(first.post(1, **TARGET).json["job_name"])
    first.wait_for(1, *BUILT)
    cluster.finish_job(name)
    first.wait_for(1, BuildState.SUCCEEDED)
    path = f"/async-jobs/{name}"
    ended = "/async-jobs?state=succeeded"  # as the watch sees it, and not the API itself
    wait_until(lambda: second.http.get(ended).json["items"], "its end to be seen")
    assert second.post(2, **TARGET).json["status"] == "queued"
    second.wait_for(2, *BUILT)
    wait_until(lambda: first.http.get(path).json["event"]["id"] == "2", "the newest to be shown")
    answer = first.http.delete(path)
    assert (answer.status_code, answer.json["event"]["id"]) == (200, "2")
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")


# -- cancelled without a worker --------------------------------------------------------------------


def tried_once(cluster: DevCluster, start: Start, status: int) -> Running:
    """Start a service that tried a build once, without success, and has no room for it any more.

    The pause until the next try is drawn from all up to the longest: an hour, to be seldom short.
    """
    running = start(
        max_active_jobs=1, worker_count=2, worker_count_max=2, retry_base_seconds=3600,
        retry_max_seconds=3600,
    )  # fmt: skip
    fault = Fault("status", verb="create", resource="jobs", status=status, message="quota")
    cluster.add_fault(fault)
    running.post("tried")
    running.wait_for("tried", BuildState.RETRYING)
    cluster.clear_faults()
    running.post("first")
    running.wait_for("first", *BUILT)
    return running


@pytest.mark.parametrize("status", [429, 500])
def test_a_build_that_was_tried_is_cancelled_at_once_although_there_is_no_room(
    cluster: DevCluster, start: Start, status: int
) -> None:
    running = tried_once(cluster, start, status)
    begun = time.monotonic()
    answer = running.http.delete("/async-jobs/tried")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert time.monotonic() - begun < 3
    assert running.stats()["cancelled_total"] == 1


def test_a_build_that_can_have_no_job_is_cancelled_while_the_api_is_away(
    cluster: DevCluster, start: Start
) -> None:
    running = tried_once(cluster, start, 429)
    cluster.outage()
    answer = running.http.delete("/async-jobs/tried")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")


def test_a_build_that_may_have_a_job_is_marked_while_the_api_is_away_and_cancelled_later(
    cluster: DevCluster, start: Start
) -> None:
    running = tried_once(cluster, start, 500)
    cluster.outage()
    answer = running.http.delete("/async-jobs/tried")
    assert (answer.status_code, answer.json["code"]) == (503, "kubernetes_unavailable")
    cluster.restore()
    wait_until(
        lambda: running.http.delete("/async-jobs/tried").status_code == 200, "the cancel", 20
    )
    running.wait_for("tried", BuildState.CANCELLED)


# -- cancel events between replicas ----------------------------------------------------------------


def test_a_cancel_event_hits_the_build_of_a_replica_whose_clock_is_ahead(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = start(), start()
    now = time.time
    with monkeypatch.context() as ahead:
        ahead.setattr("lambda_builder.web.intake.time.time", lambda: now() + 3600)
        name = first.post(1, **TARGET).json["job_name"]
    first.wait_for(1, *BUILT)
    wait_until(lambda: second.http.get(f"/async-jobs/{name}").status_code == 200, "the Job")
    assert cancel_event(second, **TARGET).status_code == 200
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")


def test_unknown_cancels_cost_no_call_of_the_api(cluster: DevCluster, start: Start) -> None:
    running = start()
    running.post(1)
    running.wait_for(1, *BUILT)
    wait_until(lambda: running.http.get("/health").status_code == 200, "the service")
    before = len(cluster.requests())
    statuses = []
    for number in range(150):
        answer = running.http.post(
            "/events",
            json={"job_name": f"build-nobody-{number}"},
            headers={"Ce-Id": f"junk-{number}", "Ce-Source": "junk", "Ce-Type": CANCEL_TYPE},
        )
        statuses.append((answer.status_code, (answer.json or {}).get("code")))
    assert statuses == [(200, None)] * 100 + [(503, "too_many_waiting")] * 50
    assert cancel_event(running, correlation_id="1").status_code == 200
    wait_until(lambda: cluster.jobs() == [], "the Job to be gone")
    assert len(cluster.requests()) - before < 20


# -- redelivery ------------------------------------------------------------------------------------


def test_a_redelivery_to_a_replica_that_knows_only_the_job_is_a_duplicate_with_its_state(
    cluster: DevCluster, start: Start
) -> None:
    first, second = start(), start()
    name = first.post(1).json["job_name"]
    first.wait_for(1, BuildState.RUNNING)
    made = first.result(1)
    assert made is not None
    known = second.services.acceptance._job_of

    def state() -> BuildState | None:
        result = known(made.request)
        return None if result is None else result.state

    wait_until(lambda: state() is BuildState.RUNNING, "the watch to show it")
    answer = second.post(1).json
    assert (answer["status"], answer["state"], answer["job_name"]) == ("duplicate", "running", name)
    assert second.stats()["accepted_total"] == 0
    assert second.metric("async_job_duplicates_total") == 1


@pytest.mark.parametrize("restarted", [False, True], ids=["", "before a restart"])
def test_a_build_accepted_after_a_cancel_that_found_nothing_is_not_meant_by_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    monkeypatch.setattr("lambda_builder.steering.command_events._FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("lambda_builder.steering.command_events._LONGEST_PAUSE_SECONDS", 0.02)
    running = start(journal_path=tmp_path / "journal.sqlite3")

    def tries() -> int:  # none while what an earlier process left has not been read
        return sum(kept.tries for kept in [*running.services.command_events._kept.values()])

    assert cancel_event(running, correlation_id="1").status_code == 200
    wait_until(lambda: tries() > 1, "the cancel to find nothing")
    if restarted:
        running.service.shutdown()
        running = start(journal_path=tmp_path / "journal.sqlite3")
    running.post(1)
    running.wait_for(1, BuildState.RUNNING)
    before = tries()
    wait_until(lambda: tries() > before + 3, "more tries")
    running.wait_for(1, BuildState.RUNNING)
