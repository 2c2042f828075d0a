"""Several events for one target in one delivery, where only one Job per target is wanted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import requests

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster
from tests.integration.service.conftest import TYPE, Running
from tests.waiting import wait_until

EVENTS = 10
ROUNDS = 5


def send_batch(running: Running, name: str, count: int) -> Any:
    events = [
        {
            "specversion": "1.0",
            "id": f"{name}-{number}",
            "source": "network.notifi.acme",
            "type": TYPE,
            "data": {"parser_id": "p"},
        }
        for number in range(count)
    ]
    return running.http.post(
        "/events", json=events, content_type="application/cloudevents-batch+json"
    )


def is_idle(running: Running) -> bool:
    stats = running.stats()
    return stats["queue_size"] == stats["busy_workers"] == 0


def end_the_job(cluster: DevCluster) -> None:
    [job] = cluster.jobs()

    def finished() -> bool:
        try:
            cluster.finish_job(job["metadata"]["name"])
        except KeyError:
            return False  # it does not run yet
        return True

    wait_until(finished, "the Job to run, and end")


def test_events_that_race_for_a_target_are_created_or_skipped_and_none_is_dead(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    running = start(duplicate_policy="skip")
    sent = itertools.count(1)

    def taken() -> bool:
        answer = send_batch(running, f"batch-{next(sent)}", EVENTS)
        return answer.json["results"][0]["status"] == "queued"

    for _ in range(ROUNDS):
        wait_until(taken, "the end of the Job before to be seen")
        wait_until(lambda: is_idle(running), "the workers to be done")
        # The next round finds a Job that has ended, and every worker wants to take its place.
        end_the_job(cluster)
    stats = running.stats()
    assert stats["created_total"] >= ROUNDS
    assert stats["dead_total"] == 0
    assert stats["created_total"] + stats["skipped_total"] == EVENTS * (next(sent) - 1)


def test_an_event_twice_in_one_batch_is_a_duplicate_the_second_time(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    running = start()
    event = {
        "specversion": "1.0",
        "id": "twice",
        "source": "network.notifi.acme",
        "type": TYPE,
        "data": {"parser_id": "p"},
    }
    answer = running.http.post(
        "/events", json=[event, event], content_type="application/cloudevents-batch+json"
    )
    first, second = answer.json["results"]
    assert (first["status"], second["status"]) == ("queued", "duplicate")
    assert first["job_name"] == second["job_name"]
    wait_until(lambda: is_idle(running), "the worker to be done")
    stats = running.stats()
    assert (stats["accepted_total"], stats["duplicates_total"]) == (1, 1)
    assert len(cluster.jobs()) == 1


def test_a_foreign_job_with_the_name_of_a_target_is_left_alone_though_it_has_ended(
    cluster: DevCluster, start: Callable[..., Running]
) -> None:
    running = start(duplicate_policy="skip")
    name = running.post(1, parser_id="p").json["job_name"]
    wait_until(lambda: is_idle(running), "the Job")
    [job] = cluster.jobs()
    url = f"{cluster.url}/apis/batch/v1/namespaces/knative-lambda/jobs/{name}"
    foreign = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody-else"}}}
    answer = requests.patch(
        url,
        data=json.dumps(foreign),
        headers={"Content-Type": "application/merge-patch+json"},
        timeout=10,
    )
    assert answer.status_code == 200
    end_the_job(cluster)
    numbers = itertools.count(2)
    wait_until(
        lambda: running.post(next(numbers), parser_id="p").json["status"] == "queued",
        "the end of the first Job to be seen",
    )
    result = running.wait_for(next(numbers) - 1, BuildState.DEAD)
    assert result.error is not None
    assert result.error.code == "name_conflict"
    assert [left["metadata"]["uid"] for left in cluster.jobs()] == [job["metadata"]["uid"]]
