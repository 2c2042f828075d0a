"""Any replica of a shared journal finds, lists, cancels and retries the builds of the others."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from lambda_builder.builds import BuildRequest, BuildResult, BuildState
from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.kube.jobs import CreatedJob
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.problems import kubernetes_away
from lambda_builder.steering.commands import BuildCommands
from tests.integration.service.conftest import BUILT, TYPE, Running
from tests.waiting import wait_until

Pair = tuple[Running, Running]
PROMPT_SECONDS = 6.0
"""Two are promised; a machine that runs other tests meanwhile may take longer."""
CANCEL_TYPE = TYPE.replace("start", "cancel")


@pytest.fixture
def pair(cluster: DevCluster, start: Callable[..., Running], postgres_url: str) -> Iterator[Pair]:
    """Two replicas; calls that make Jobs hang once ``busy`` was called."""

    def replica() -> Running:
        return start(
            journal_url=postgres_url,
            worker_count=1,
            worker_count_max=1,
            kube_api_timeout_seconds=30,
        )

    yield replica(), replica()
    cluster.clear_faults()


def busy(cluster: DevCluster, pair: Pair) -> None:
    """Give each replica a build whose Job takes long to make, so that what follows waits there."""
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
    for number, running in enumerate(pair):
        running.post(f"busy-{number}")
        wait_until(partial(is_busy, running), "its worker to hang")


def is_busy(running: Running) -> bool:
    return bool(running.stats()["busy_workers"])


def state_at(running: Running, build_id: str) -> str:
    return str(running.http.get(f"/async-jobs/{build_id}").json["state"])


def has_job(running: Running, build_id: str) -> bool:
    return state_at(running, build_id) in BUILT


def listed(running: Running, query: str = "") -> list[tuple[str, str]]:
    items = running.http.get(f"/async-jobs?{query}").json["items"]
    return [(item["correlation_id"], item["state"]) for item in items]


def is_cancelled(running: Running) -> bool:
    return state_at(running, "mine") == "cancelled"


def all_cancelled(running: Running) -> bool:
    return {state for _, state in listed(running, "third_party_id=victim")} == {"cancelled"}


def test_a_build_that_waits_at_one_replica_is_found_listed_and_cancelled_at_another(
    cluster: DevCluster, pair: Pair
) -> None:
    first, second = pair
    busy(cluster, pair)
    first.post("mine")
    assert second.http.get("/async-jobs/mine").json["state"] == "queued"
    assert listed(second, "state=queued")[0] == ("mine", "queued")
    began = time.monotonic()
    answer = second.http.delete("/async-jobs/mine")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    wait_until(
        partial(is_cancelled, first),
        "the replica where it waited to know",
        PROMPT_SECONDS,
    )
    assert time.monotonic() - began < PROMPT_SECONDS
    assert second.http.delete("/async-jobs/mine").json["code"] == "already_finished"
    wait_until(lambda: first.stats()["queue_size"] == 0, "it to leave the queue")
    for running in pair:
        assert listed(running)[0] == ("mine", "cancelled")
        assert [name for name, _ in listed(running)].count("mine") == 1
    assert second.stats()["cancelled_total"] + first.stats()["cancelled_total"] == 1


def test_all_builds_that_wait_anywhere_are_counted_and_cancelled_together(
    cluster: DevCluster, pair: Pair
) -> None:
    first, second = pair
    busy(cluster, pair)
    for number in range(5):
        first.post(f"there-{number}", third_party_id="victim")
        second.post(f"here-{number}", third_party_id="victim")
    cancel = "/async-jobs/cancel?third_party_id=victim"
    counted = second.http.post(f"{cancel}&dry_run=true")
    assert counted.json["matched"] == 10, counted.json
    done = second.http.post(cancel)
    assert (done.status_code, done.json["matched"]) == (200, 10)
    for running in pair:
        wait_until(partial(all_cancelled, running), "all to be cancelled", PROMPT_SECONDS)
    cluster.clear_faults()
    wait_until(lambda: len(cluster.jobs()) == 2, "those of the busy workers")


def test_a_cancel_event_that_names_a_target_means_what_waits_at_another_replica(
    cluster: DevCluster, pair: Pair
) -> None:
    first, second = pair
    busy(cluster, pair)
    first.post("mine", third_party_id="victim", parser_id="p")
    second.http.post(
        "/events",
        json={"third_party_id": "victim", "parser_id": "p"},
        headers={"Ce-Id": uuid.uuid4().hex, "Ce-Source": "s", "Ce-Type": CANCEL_TYPE},
    )
    wait_until(
        partial(is_cancelled, first),
        "the build to be cancelled",
        PROMPT_SECONDS,
    )


def test_a_cancel_that_comes_as_a_build_is_put_into_the_queue_ends_it_all_the_same(
    cluster: DevCluster, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    busy(cluster, pair)
    first.post("mine", third_party_id="victim")
    is_put, is_looked_for = threading.Event(), threading.Event()
    ask, put, remove = LiveBuilds.ask_to_cancel, BuildQueue.put_expected, BuildQueue.remove

    def late_ask(live: LiveBuilds, build: Build) -> bool:
        assert is_put.wait(10)
        return ask(live, build)

    def late_put(queue: BuildQueue[Build], *arguments: Any) -> None:
        is_put.set()
        assert is_looked_for.wait(10)
        put(queue, *arguments)

    def noted_remove(queue: BuildQueue[Build], key: str) -> Any:
        entry = remove(queue, key)
        if is_put.is_set():
            is_looked_for.set()
        return entry

    monkeypatch.setattr(LiveBuilds, "ask_to_cancel", late_ask)
    monkeypatch.setattr(BuildQueue, "put_expected", late_put)
    monkeypatch.setattr(BuildQueue, "remove", noted_remove)
    done = second.http.post("/async-jobs/cancel?third_party_id=victim")
    assert (done.status_code, done.json["matched"]) == (200, 1)
    assert state_at(second, "mine") == "cancelled"


def test_a_cancel_event_that_took_a_build_over_and_was_put_off_still_means_it(
    cluster: DevCluster, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    busy(cluster, pair)
    first.post("mine", third_party_id="victim", parser_id="p")
    cancel, tries = BuildCommands.cancel_one, list[str]()

    def cancel_at_the_second_try(commands: BuildCommands, result: BuildResult) -> None:
        tries.append(result.request.job_name)
        if len(tries) == 1:
            commands._take(result)
            wait_until(lambda: second.result("mine"), "the build to be known here")
            raise kubernetes_away("not yet")
        cancel(commands, result)

    monkeypatch.setattr(BuildCommands, "cancel_one", cancel_at_the_second_try)
    second.http.post(
        "/events",
        json={"third_party_id": "victim", "parser_id": "p"},
        headers={"Ce-Id": uuid.uuid4().hex, "Ce-Source": "s", "Ce-Type": CANCEL_TYPE},
    )
    wait_until(partial(is_cancelled, second), "the build to be cancelled", PROMPT_SECONDS)


def test_a_job_that_one_replica_makes_while_another_cancels_its_build_is_deleted(
    cluster: DevCluster, pair: Pair
) -> None:
    first, second = pair
    cluster.add_fault(Fault("latency", verb="create", resource="jobs", seconds=0.5))
    first.post("mine")
    wait_until(partial(is_busy, first), "the attempt")
    began = time.monotonic()
    answer = second.http.delete("/async-jobs/mine")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert time.monotonic() - began < PROMPT_SECONDS
    wait_until(lambda: not is_busy(first), "the attempt to end")
    wait_until(lambda: cluster.jobs() == [], "no Job to be left")
    for running in pair:
        wait_until(partial(is_cancelled, running), "both to know", PROMPT_SECONDS)


def test_a_build_taken_from_another_replica_that_may_have_a_job_is_cancelled_once_that_is_known(
    cluster: DevCluster, pair: Pair
) -> None:
    first, second = pair
    busy(cluster, pair)
    cluster.add_fault(Fault("status", verb="get", resource="jobs", status=503, message="away"))
    refused = second.http.delete("/async-jobs/busy-0")
    assert refused.json["code"] == "kubernetes_unavailable", refused.json
    assert "marked as cancelled" in refused.json["detail"]
    cluster.clear_faults()
    wait_until(lambda: state_at(second, "busy-0") == "cancelled", "it to be cancelled")
    wait_until(lambda: len(cluster.jobs()) == 1, "the other one's Job alone")
    wait_until(lambda: state_at(first, "busy-0") == "cancelled", "the first to know")


def test_of_one_correlation_the_builds_of_all_replicas_are_found(
    cluster: DevCluster, pair: Pair
) -> None:
    busy(cluster, pair)
    for number, running in enumerate(pair):
        running.http.post(
            "/events",
            json={"parser_id": f"p-{number}", "correlation_id": "shared"},
            headers={"Ce-Id": f"c-{number}", "Ce-Source": "s", "Ce-Type": TYPE},
        )
    for running in pair:
        answer = running.http.delete("/async-jobs/shared")
        assert answer.json["code"] == "ambiguous", answer.json


def test_a_dead_build_of_one_replica_goes_again_at_another(cluster: DevCluster, pair: Pair) -> None:
    first, second = pair
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))
    first.post(1)
    first.wait_for(1, BuildState.DEAD)
    wait_until(lambda: listed(second, "state=dead") == [("1", "dead")], "the dead letter")
    assert "build-" in second.http.get("/page/dead-letters").text
    cluster.clear_faults()
    assert second.http.post("/async-jobs/1/retry").status_code == 200
    assert second.wait_for(1, *BUILT, timeout=PROMPT_SECONDS).attempts == 1
    wait_until(
        lambda: has_job(first, "1"),
        "the first to know",
        PROMPT_SECONDS,
    )
    assert len(cluster.jobs()) == 1


def test_of_two_replicas_that_retry_a_build_at_once_one_does_and_keeps_its_job(
    cluster: DevCluster, pair: Pair
) -> None:
    first, second = pair
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))
    first.post(1)
    first.wait_for(1, BuildState.DEAD)
    wait_until(lambda: listed(second, "state=dead") == [("1", "dead")], "the dead letter")
    cluster.clear_faults()
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda each: each.http.post("/async-jobs/1/retry"), pair)]
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    wait_until(lambda: len(cluster.jobs()) == 1, "its Job")
    for running in pair:
        wait_until(partial(has_job, running, "1"), "all to know of it")


def test_a_retry_that_comes_second_leaves_the_job_alone_that_the_first_has_made_meanwhile(
    cluster: DevCluster, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))
    first.post(1)
    first.wait_for(1, BuildState.DEAD)
    wait_until(lambda: listed(second, "state=dead") == [("1", "dead")], "the dead letter")
    cluster.clear_faults()
    runner = second.services.commands._runner
    look = runner.look

    def look_late(request: BuildRequest) -> CreatedJob | None:
        assert first.http.post("/async-jobs/1/retry").status_code == 200
        wait_until(lambda: len(cluster.jobs()) == 1, "the new Job")
        return look(request)

    monkeypatch.setattr(runner, "look", look_late)
    assert second.http.post("/async-jobs/1/retry").json["code"] == "not_retryable"
    assert len(cluster.jobs()) == 1


def test_what_one_replica_refused_all_show(pair: Pair) -> None:
    first, second = pair
    assert first.http.post("/events", data=b"nonsense").status_code == 400
    wait_until(
        lambda: len(second.http.get("/events/rejected").json["items"]) == 1, "it to be shown"
    )
