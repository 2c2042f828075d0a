"""What is remembered of a build must not outlast what the cluster has of it, on any replica."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import requests

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster, Fault
from tests.http_sink import HttpSink
from tests.integration.service.conftest import BUILT, TYPE, Running
from tests.waiting import wait_until

from .test_racing_for_a_target import end_the_job

ACCEPTED = f"{TYPE.removesuffix('start')}accepted"


def post(running: Running, event_id: str, **data: Any) -> Any:
    """Deliver an event of the one target of these tests."""
    return running.http.post(
        "/events",
        json={"parser_id": "p", **data},
        headers={"Ce-Id": event_id, "Ce-Source": "network.notifi.acme", "Ce-Type": TYPE},
    ).json


def delete(cluster: DevCluster, name: str) -> None:
    url = f"{cluster.url}/apis/batch/v1/namespaces/knative-lambda/jobs/{name}"
    assert requests.delete(url, timeout=5).ok


def watcher_of(running: Running) -> Any:
    return next(part for part in running.service._parts if hasattr(part, "by_event"))


def wait_until_seen(running: Running, name: str) -> None:
    wait_until(lambda: watcher_of(running).by_name(name) is not None, "the Job to be seen")


def lose_the_watch(cluster: DevCluster, running: Running) -> None:
    for verb in ("watch", "list"):
        cluster.add_fault(Fault("status", verb=verb, resource="jobs", status=503))
    cluster.add_fault(Fault("expire_watch", resource="jobs"))
    wait_until(lambda: not watcher_of(running).following, "the watch to be lost", 20)


@pytest.mark.parametrize("policy", ["skip", "allow"])
def test_a_job_made_and_deleted_while_the_watch_is_away_is_settled_by_the_next_list(
    cluster: DevCluster, start: Callable[..., Running], policy: str
) -> None:
    with closing(HttpSink()) as sink:
        running = start(duplicate_policy=policy, sink_url=sink.url)
        wait_until(lambda: watcher_of(running).following, "the watch")
        lose_the_watch(cluster, running)
        name = post(running, "1")["job_name"]
        running.wait_for("1", BuildState.CREATED)
        delete(cluster, name)
        cluster.clear_faults()

        settled = running.wait_for("1", BuildState.CANCELLED, timeout=30)
        assert settled.error is not None
        assert settled.error.code == "cancelled"
        counted = 'build_jobs_finished_total{result="cancelled"}'  # right after it can be seen
        wait_until(lambda: running.metric(counted) == 1, "the count")
        assert post(running, "2")["status"] == "queued"
        running.wait_for("2", *BUILT)
        wait_until(
            lambda: any(headers["ce-type"].endswith("cancelled") for headers, _ in sink.events),
            "the end to be told",
        )


def test_a_target_is_free_when_the_watch_says_so_whatever_was_once_stored(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    running = start(duplicate_policy="skip")
    wait_until(lambda: watcher_of(running).following, "the watch")
    lose_the_watch(cluster, running)
    name = post(running, "1")["job_name"]
    running.wait_for("1", BuildState.CREATED)
    delete(cluster, name)
    sent = itertools.count(2)
    wait_until(
        lambda: post(running, str(next(sent)))["status"] == "queued",  # the watch is still away
        "the target to be free",
        15,
    )
    running.wait_for(next(sent) - 1, *BUILT)


def test_a_skipped_event_is_recorded_told_and_known_when_it_comes_again(
    cluster: DevCluster, start: Callable[..., Running], capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(HttpSink()) as sink:
        running = start(duplicate_policy="skip", sink_url=sink.url)
        name = post(running, "1")["job_name"]
        running.wait_for("1", *BUILT)
        wait_until_seen(running, name)

        assert post(running, "2", correlation_id="order-2")["status"] == "skipped"
        kept = running.http.get("/async-jobs/order-2").json
        assert (kept["job_name"], kept["error"]["code"]) == (name, "skipped")
        assert running.http.get(f"/async-jobs/{name}").json["correlation_id"] == "1"
        assert "error_code=skipped" in capsys.readouterr().out
        wait_until(
            lambda: any(
                headers["ce-type"] == ACCEPTED and body["correlation_id"] == "order-2"
                for headers, body in sink.events
            ),
            "the acceptance to be told",
        )
        end_the_job(cluster)
        running.wait_for("1", BuildState.SUCCEEDED)
        again = [post(running, "2", correlation_id="order-2") for _ in range(2)]
        assert [(a["status"], a["job_name"]) for a in again] == [("duplicate", name)] * 2
        stats = running.stats()
        assert (stats["accepted_total"], stats["skipped_total"]) == (2, 1)
        assert stats["duplicates_total"] == 2


def test_a_redelivery_to_a_replica_that_knows_only_the_job_tells_its_state(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    first, second = start(), start()
    name = first.post(1).json["job_name"]
    first.wait_for(1, *BUILT)
    wait_until_seen(second, name)
    answer = second.post(1).json
    assert (answer["status"], answer["job_name"]) == ("duplicate", name)
    assert answer["state"] in ("created", "running")
    assert second.stats()["accepted_total"] == 0


def test_a_cancelled_build_is_not_built_again_by_another_replica(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    first, second = start(), start()
    name = first.post(1).json["job_name"]
    first.wait_for(1, *BUILT)
    wait_until_seen(second, name)
    assert first.http.delete(f"/async-jobs/{name}").status_code == 200
    wait_until(lambda: watcher_of(second).by_name(name) is None, "the Job to be gone")
    answer = second.post(1).json
    assert (answer["status"], answer["state"]) == ("duplicate", "cancelled")
    assert cluster.jobs() == []


def test_a_build_whose_job_made_way_for_its_targets_next_is_not_built_again_elsewhere(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    first, second = start(duplicate_policy="skip"), start(duplicate_policy="skip")
    name = post(first, "A")["job_name"]
    first.wait_for("A", *BUILT)
    wait_until_seen(second, name)
    end_the_job(cluster)
    first.wait_for("A", BuildState.SUCCEEDED)
    uid = cluster.jobs()[0]["metadata"]["uid"]
    post(first, "B")
    first.wait_for("B", *BUILT)
    wait_until(
        lambda: (record := watcher_of(second).by_name(name)) is not None and record.uid != uid,
        "the other replica to see it",
    )
    end_the_job(cluster)
    answer = post(second, "A")
    assert (answer["status"], answer["state"]) == ("duplicate", "succeeded")
    [job] = cluster.jobs()
    assert job["metadata"]["annotations"]["build.notifi.network/event-id"] == "B"


def test_a_failed_build_whose_event_memory_let_go_is_retried_from_its_job(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    running = start()
    name = post(running, "1", build_args={"A": "1"})["job_name"]
    running.wait_for("1", BuildState.RUNNING)
    cluster.finish_job(name, succeeded=False)
    running.wait_for("1", BuildState.FAILED)
    known = running.result("1")
    assert known is not None
    running.results.put(known.but(request=known.request.without_event()))
    assert running.http.post(f"/async-jobs/{name}/retry").status_code == 200
    again = running.wait_for("1", *BUILT)
    assert again.request.build_args == {"A": "1"}


def test_events_that_wait_fill_the_queue_by_their_bytes_and_make_room_as_they_leave(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    running = start(queue_max_bytes=1_048_576, queue_size=100)
    cluster.outage()
    note = "x" * 300_000 + "\N{PARTY POPPER}"  # as a ``str`` each would take 1.2 MB
    answers = [running.post(number, note=note) for number in range(12)]
    full = [answer for answer in answers if answer.status_code == 503]
    assert full
    assert {answer.json["code"] for answer in full} == {"queue_full"}
    assert sum(answer.status_code == 200 for answer in answers) >= 3
    cluster.restore()
    wait_until(lambda: running.post(99, note=note).status_code == 200, "room", 30)
