"""The breaker with real threads, and against an API that really goes away."""

from __future__ import annotations

import threading
import time

import pytest

from lambda_builder.devcluster import Fault
from lambda_builder.errors import Unreachable
from lambda_builder.kube.health import ApiHealth
from tests.waiting import wait_until


class Api:
    """A probe whose answer is set by the test, and which sees how it is used."""

    def __init__(self, there: bool = True) -> None:
        self.there = there
        self.probes = 0
        self.most_at_once = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self) -> bool:
        with self._lock:
            self.probes += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self.may_answer.wait(10)
        with self._lock:
            self._at_once -= 1
        return self.there


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def health(api):
    health = ApiHealth(api)
    yield health
    api.may_answer.set()
    assert health.stop() == []


def never() -> threading.Event:
    return threading.Event()


def in_threads(number, call):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(call()), daemon=True) for _ in range(number)
    ]
    for thread in threads:
        thread.start()
    return threads, answers


def join(threads):
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_healthy_api_holds_nobody(health, api):
    started = time.monotonic()
    assert all(health.wait_turn(never()) for _ in range(2000))
    assert time.monotonic() - started < 2
    assert api.probes == 0


def test_a_failure_counts_when_the_api_answers_the_probe(health, api):
    assert health.report_unreachable()
    assert health.available
    assert api.probes == 1
    assert health.rate is not None, "who times out is asked less"


def test_workers_wait_while_the_api_is_away_and_go_when_it_is_back(health, api):
    api.there = False
    assert not health.report_unreachable()
    assert not health.available
    threads, answers = in_threads(5, lambda: health.wait_turn(never()))
    wait_until(lambda: api.probes >= 2, "a probe")
    assert answers == []
    api.there = True
    join(threads)
    assert answers == [True] * 5
    assert health.available
    assert health.rate is not None


def test_many_failures_at_once_cost_few_probes_one_at_a_time(health, api):
    api.may_answer.clear()
    threads, answers = in_threads(20, health.report_unreachable)
    wait_until(lambda: api.probes == 1, "the first probe")
    api.may_answer.set()
    join(threads)
    assert answers == [True] * 20
    assert api.probes <= 3
    assert api.most_at_once == 1


def test_failures_while_the_api_is_known_to_be_away_ask_nobody(health, api):
    api.there = False
    health.report_unreachable()
    probes = api.probes
    assert [health.report_unreachable() for _ in range(50)] == [False] * 50
    assert api.probes <= probes + 1


def test_a_verdict_of_a_probe_that_began_before_the_failure_does_not_count(health, api):
    api.may_answer.clear()
    first, _ = in_threads(1, health.report_unreachable)
    wait_until(lambda: api.probes == 1, "the first probe")
    second, answers = in_threads(1, health.report_unreachable)
    wait_until(lambda: second[0].is_alive(), "the second report")
    api.may_answer.set()
    join([*first, *second])
    assert answers == [True]
    assert api.probes == 2


def test_a_set_event_ends_the_wait(health, api):
    api.there = False
    health.report_unreachable()
    stopping = threading.Event()
    threads, answers = in_threads(8, lambda: health.wait_turn(stopping))
    stopping.set()
    started = time.monotonic()
    join(threads)
    assert time.monotonic() - started < 3
    assert answers == [False] * 8


def test_stop_ends_every_wait_and_the_probing(api):
    health = ApiHealth(api)
    api.there = False
    health.report_unreachable()
    threads, answers = in_threads(8, lambda: health.wait_turn(never()))
    assert health.stop() == []
    join(threads)
    assert answers == [False] * 8
    assert health.stop() == []
    assert not health.wait_turn(never())


def test_a_retry_after_of_the_api_holds_all(health):
    health.report_throttled(0.5)
    started = time.monotonic()
    assert health.wait_turn(never())
    assert 0.45 <= time.monotonic() - started < 3


def test_a_probe_that_breaks_is_no_answer_and_does_not_end_the_probing(api):
    broken = threading.Event()
    broken.set()

    def probe() -> bool:
        if broken.is_set():
            raise RuntimeError("broken")
        return api()

    health = ApiHealth(probe)
    assert not health.report_unreachable()
    broken.clear()
    wait_until(lambda: health.available, "recovery")
    assert health.stop() == []


def test_an_outage_costs_few_probes_and_the_backlog_flows_soon_and_slowly(
    cluster, connect, jobs, manifest
):
    client = connect(kube_api_timeout_seconds=2)
    health = ApiHealth(client.probe)
    bodies = [manifest(f"id-{number}") for number in range(60)]
    stopping, lock, made = threading.Event(), threading.Lock(), []

    def work() -> None:
        while health.wait_turn(stopping):
            with lock:
                if not bodies:
                    return
                body = bodies.pop()
            try:
                jobs.create_job(body)
            except Unreachable:
                assert not health.report_unreachable()
                with lock:
                    bodies.append(body)
                continue
            health.report_success()
            with lock:
                made.append(time.monotonic())

    cluster.outage()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: not health.available, "the outage to be noticed")
    outage_ended = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > outage_ended, "the outage to last")
    cluster.clear_requests()
    cluster.restore()
    back = time.monotonic()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    stopping.set()
    assert health.stop() == []
    assert len(made) == len(cluster.jobs()) == 60
    assert min(made) - back < 5
    first_second = [moment for moment in made if moment - min(made) <= 1.0]
    assert len(first_second) <= 25, "no storm after an outage"


def test_a_hanging_api_is_away_and_a_slow_one_is_not(cluster, connect):
    client = connect(kube_api_timeout_seconds=1)
    health = ApiHealth(lambda: client.probe(0.3))
    cluster.add_fault(Fault("hang", verb="create"))
    assert health.report_unreachable()
    cluster.add_fault(Fault("hang"))
    assert not health.report_unreachable()
    cluster.clear_faults()
    wait_until(lambda: health.available, "recovery")
    assert health.stop() == []
