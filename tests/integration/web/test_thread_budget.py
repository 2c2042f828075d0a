"""However much hangs, a thread is left to answer probes."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.web.slots import Slots

CANCEL = "network.notifi.lambda.build.cancel"


class Hanging:
    """Stands in for calls of Kubernetes: each hangs until it is let go."""

    def __init__(self, house):
        self.let_go = threading.Event()
        self._inside = threading.Semaphore(0)
        house.directory.get = house.directory.cancel = house.directory.retry = self
        house.directory.cancel_by_event = self

    def __call__(self, *_):
        self._inside.release()
        self.let_go.wait(30)
        raise Refused(RefusalCode.NOT_FOUND, "no build of that name")

    def wait_for(self, count):
        for _ in range(count):
            assert self._inside.acquire(timeout=10)


@pytest.fixture
def hanging_house(build_house):
    house = build_house(http_threads=3)
    house.hanging = Hanging(house)
    with ThreadPoolExecutor(8) as pool:
        house.pool = pool
        yield house
        house.hanging.let_go.set()


REQUESTS = {
    "get": lambda house: house.client.get("/async-jobs/x"),
    "cancel": lambda house: house.client.delete("/async-jobs/x"),
    "retry": lambda house: house.client.post("/async-jobs/x/retry"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_requests_that_wait_for_kubernetes_leave_one_thread_free(hanging_house, request_):
    waiting = [hanging_house.pool.submit(request_, hanging_house) for _ in range(2)]
    hanging_house.hanging.wait_for(2)
    refused = request_(hanging_house)
    assert (refused.status_code, refused.json["code"]) == (503, "too_many_waiting")
    assert int(refused.headers["Retry-After"]) >= 1
    hanging_house.hanging.let_go.set()
    assert {answer.result(10).status_code for answer in waiting} <= {200, 404}
    assert request_(hanging_house).status_code in (200, 404)


def test_a_request_waits_a_moment_for_those_before_it(hanging_house):
    """So that many short ones at once are all answered."""
    waiting = [hanging_house.pool.submit(REQUESTS["get"], hanging_house) for _ in range(2)]
    hanging_house.hanging.wait_for(2)
    third = hanging_house.pool.submit(REQUESTS["get"], hanging_house)
    hanging_house.hanging.let_go.set()
    assert third.result(10).status_code == 404
    assert [answer.result(10).status_code for answer in waiting] == [404, 404]


def test_one_wait_in_vain_is_enough_until_a_slot_is_given_back():
    """Else a line of requests, each of which waits a moment, holds up the probes behind them."""
    slots = Slots(1, "anything", patience_seconds=0.2)
    taken = slots.take()
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(Refused):
            slots.take()
    assert time.monotonic() - began < 5
    taken.close()
    slots.take().close()


def test_a_cancel_event_is_taken_however_much_hangs(hanging_house):
    waiting = [hanging_house.pool.submit(REQUESTS["get"], hanging_house) for _ in range(2)]
    hanging_house.hanging.wait_for(2)
    answer = hanging_house.post(data={"job_name": "build-x"}, headers={"Ce-Type": CANCEL})
    assert (answer.status_code, answer.json["status"]) == (200, "accepted")
    hanging_house.hanging.let_go.set()
    assert [answer.result(10).status_code for answer in waiting] == [404, 404]


def test_events_that_wait_for_a_stalled_disk_leave_threads_free(build_house, tmp_path):
    house = build_house(http_threads=4, journal_path=tmp_path / "journal.sqlite3")
    let_go, inside = threading.Event(), threading.Semaphore(0)
    accept = house.creator.accept

    def stalled(*arguments):
        inside.release()
        let_go.wait(30)
        return accept(*arguments)

    house.creator.accept = stalled
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(house.post) for _ in range(2)]
        for _ in range(2):
            assert inside.acquire(timeout=10)
        refused = house.post()
        assert (refused.status_code, refused.json["code"]) == (503, "too_many_waiting")
        assert house.client.get("/health").status_code == 200
        let_go.set()
        assert [answer.result(10).status_code for answer in waiting] == [200, 200]
    assert house.post().status_code == 200


def test_slots_never_hand_out_more_than_there_are():
    whole = Slots(4, "anything")
    part = Slots(3, "something", within=whole)
    holding, peak, lock = [], [], threading.Lock()

    def hold(slots):
        with contextlib.suppress(Refused), slots.take():
            with lock:
                holding.append(slots)
                peak.append((len(holding), holding.count(part)))
            with lock:
                holding.remove(slots)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(hold, [whole, part] * 500))
    assert max(all_held for all_held, _ in peak) <= 4
    assert max(part_held for _, part_held in peak) <= 3
    taken = [part.take() for _ in range(3)]
    with pytest.raises(Refused):
        part.take()
    with whole.take(), pytest.raises(Refused):
        whole.take()
    for slot in taken:
        slot.close()
        slot.close()
    everything = [whole.take() for _ in range(4)]
    for _ in range(5):
        with pytest.raises(Refused):
            part.take()
    for slot in everything:
        slot.close()
    assert len([part.take() for _ in range(3)]) == 3
