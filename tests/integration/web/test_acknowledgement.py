"""``ACK=created``: an event is answered only once its Job exists."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_builder.builds import BuildState

START = "network.notifi.lambda.build.start"


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as executor:
        yield executor


@pytest.fixture
def waiting_house(build_house):
    return build_house(ack="created", ack_timeout_seconds=30, http_threads=4)


def test_the_answer_comes_once_the_job_exists_and_not_before(waiting_house, pool):
    answer = pool.submit(waiting_house.post)
    waiting_house.creator.wait_for(1)
    assert not answer.done()
    waiting_house.creator.finish(BuildState.CREATED)
    result = answer.result(10)
    assert result.status_code == 200
    assert (result.json["status"], result.json["state"]) == ("queued", "created")


def test_a_batch_is_answered_once_all_its_jobs_exist(waiting_house, pool):
    events = [
        {
            "specversion": "1.0",
            "id": str(n),
            "source": "s",
            "type": START,
            "data": {"parser_id": "p"},
        }
        for n in range(2)
    ]
    answer = pool.submit(
        waiting_house.client.post,
        "/events",
        data=json.dumps(events),
        content_type="application/cloudevents-batch+json",
    )
    waiting_house.creator.wait_for(2)
    waiting_house.creator.finish(BuildState.CREATED, 1)
    assert not answer.done()
    waiting_house.creator.finish(BuildState.CREATED, 0)
    states = [result["state"] for result in answer.result(10).json["results"]]
    assert states == ["created", "created"]


def test_a_job_that_does_not_exist_in_time_is_answered_with_503(build_house):
    house = build_house(ack="created", ack_timeout_seconds=0.05)
    answer = house.post()
    assert (answer.status_code, answer.json["code"]) == (503, "ack_timeout")
    assert answer.json["correlation_id"] == "id-1"
    assert int(answer.headers["Retry-After"]) >= 1
    assert house.creator.rejected == []
    assert not house.creator.receipts[0].future.cancelled()


def test_a_job_that_could_not_be_made_is_answered_with_503(waiting_house, pool):
    answer = pool.submit(waiting_house.post)
    waiting_house.creator.wait_for(1)
    waiting_house.creator.finish(BuildState.DEAD)
    result = answer.result(10)
    assert (result.status_code, result.json["code"]) == (503, "build_failed")


def test_a_build_cancelled_meanwhile_is_settled_and_answered_as_accepted(waiting_house, pool):
    answer = pool.submit(waiting_house.post)
    waiting_house.creator.wait_for(1)
    waiting_house.creator.finish(BuildState.CANCELLED)
    result = answer.result(10)
    assert (result.status_code, result.json["state"]) == (200, "cancelled")


def test_a_shutdown_ends_the_wait_early(waiting_house, pool):
    answer = pool.submit(waiting_house.post)
    waiting_house.creator.wait_for(1)
    began = time.monotonic()
    waiting_house.creator.is_shutdown = True
    result = answer.result(10)
    assert time.monotonic() - began < 5
    assert (result.status_code, result.json["code"]) == (503, "shutting_down")
    assert result.headers["Connection"] == "close"


def test_a_build_given_up_by_the_service_is_answered_as_shutting_down(waiting_house, pool):
    answer = pool.submit(waiting_house.post)
    waiting_house.creator.wait_for(1)
    assert waiting_house.creator.receipts[0].future.cancel()
    assert answer.result(10).json["code"] == "shutting_down"


def test_at_most_half_of_the_threads_wait_and_nothing_more_is_accepted(waiting_house, pool):
    waiting = [
        pool.submit(waiting_house.post, headers={"Ce-Id": f"id-{number}"}) for number in range(2)
    ]
    waiting_house.creator.wait_for(2)
    refused = waiting_house.post(headers={"Ce-Id": "one-too-many"})
    assert (refused.status_code, refused.json["code"]) == (503, "too_many_waiting")
    assert int(refused.headers["Retry-After"]) >= 1
    assert len(waiting_house.creator.receipts) == 2
    assert waiting_house.creator.rejected == ["too_many_waiting"]
    assert waiting_house.client.get("/health").status_code == 200
    for number in range(2):
        waiting_house.creator.finish(BuildState.CREATED, number)
    assert [answer.result(10).status_code for answer in waiting] == [200, 200]


def test_places_come_back_however_a_wait_ends(build_house):
    house = build_house(ack="created", ack_timeout_seconds=0.01, http_threads=2)
    codes = {house.post(headers={"Ce-Id": str(n)}).json["code"] for n in range(20)}
    assert codes == {"ack_timeout"}


def test_a_cancel_event_never_waits(waiting_house):
    answer = waiting_house.post(
        data={"job_name": "build-x"}, headers={"Ce-Type": "network.notifi.lambda.build.cancel"}
    )
    assert answer.status_code == 200


def test_many_waits_at_once_are_each_answered_or_refused(build_house, pool):
    house = build_house(ack="created", ack_timeout_seconds=30, http_threads=8)
    stop = threading.Event()

    def finish_all():
        finished = 0
        while True:
            with house.creator.accepted:
                house.creator.accepted.wait_for(
                    lambda seen=finished: len(house.creator.receipts) > seen, 0.1
                )
            if finished == len(house.creator.receipts) and stop.is_set():
                return
            for number in range(finished, len(house.creator.receipts)):
                house.creator.finish(BuildState.CREATED, number)
                finished += 1

    worker = threading.Thread(target=finish_all)
    worker.start()
    answers = list(pool.map(lambda n: house.post(headers={"Ce-Id": str(n)}), range(100)))
    stop.set()
    worker.join(10)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) == len(house.creator.receipts)
