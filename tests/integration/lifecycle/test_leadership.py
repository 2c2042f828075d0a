"""Who leads: one at a time, soon again after a loss, and never on a lease that may have passed."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from lambda_builder.devcluster import Fault
from lambda_builder.kube.lease import LEASE_NAME, Leadership, identity
from tests.waiting import wait_until

from .conftest import NAMESPACE, Road

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{LEASE_NAME}"
DURATION, RENEW = 2, 0.2


@pytest.fixture
def stand(client):
    """Let somebody stand for election, with short times; all are stopped at the end."""
    candidates = []

    def make(name, *, of=client):
        candidate = Leadership(of, NAMESPACE, name, duration_seconds=DURATION, renew_seconds=RENEW)
        candidate.start()
        candidates.append(candidate)
        return candidate

    yield make
    for candidate in candidates:
        assert candidate.stop(5) == []


class Observer:
    """Looks again and again whether two lead at once."""

    def __init__(self, *candidates: Leadership) -> None:
        self._candidates = candidates
        self._done = threading.Event()
        self.most = 0
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._done.wait(0.001):
            self.most = max(self.most, sum(c.is_leader for c in self._candidates))

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(5)


def read(client):
    return client.request("get_lease", "GET", LEASE)


def test_one_of_two_leads(client, stand):
    first = stand("first")
    wait_until(lambda: first.is_leader, "the first to lead")
    second = stand("second")
    with Observer(first, second) as observer:
        renewed = read(client)["spec"]["renewTime"]
        wait_until(lambda: read(client)["spec"]["renewTime"] > renewed, "a renewal")
    assert observer.most == 1
    assert first.is_leader
    spec = read(client)["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("first", 1)


def test_the_lease_is_given_up_on_stop_and_taken_at_once(client, stand):
    first = stand("first")
    wait_until(lambda: first.is_leader, "the first to lead")
    second = stand("second")
    began = time.monotonic()
    assert first.stop(5) == []
    assert not first.is_leader
    wait_until(lambda: second.is_leader, "the second to lead")
    assert time.monotonic() - began < DURATION / 2
    spec = read(client)["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 2)


def test_a_lease_given_up_names_nobody(client, stand):
    only = stand("only")
    wait_until(lambda: only.is_leader, "it to lead")
    assert only.stop(5) == []
    assert "holderIdentity" not in read(client)["spec"]


def test_a_leader_that_hangs_stops_leading_before_another_begins(connect, road: Road, stand):
    first = stand("first", of=connect(host=road.host))
    wait_until(lambda: first.is_leader, "the first to lead")
    second = stand("second")
    with Observer(first, second) as observer:
        road.freeze()
        wait_until(lambda: not first.is_leader, "the first to stop")
        assert not second.is_leader
        wait_until(lambda: second.is_leader, "the second to lead")
        road.thaw()
        renewed = read(connect())["spec"]["renewTime"]
        wait_until(lambda: read(connect())["spec"]["renewTime"] > renewed, "a renewal")
    assert observer.most == 1
    assert not first.is_leader


def test_a_leader_that_hangs_can_be_stopped_and_does_not_take_the_lease_back(
    connect, client, road: Road
):
    first = Leadership(
        connect(host=road.host), NAMESPACE, "first", duration_seconds=DURATION, renew_seconds=RENEW
    )
    first.start()
    wait_until(lambda: first.is_leader, "the first to lead")
    road.freeze()
    assert first.stop(3 * DURATION) == []
    assert not first.is_leader


def test_leadership_outlives_errors_shorter_than_the_lease(cluster, stand):
    only = stand("only")
    wait_until(lambda: only.is_leader, "it to lead")
    cluster.clear_requests()
    cluster.add_fault(Fault("cut", resource="leases", times=2))
    cluster.add_fault(Fault("status", resource="leases", status=500, times=1))
    ok = lambda: [r for r in cluster.requests() if r.verb == "update" and r.status == 200]  # noqa: E731
    with Observer(only) as observer:
        wait_until(ok, "a renewal after the errors")
        assert only.is_leader
    assert observer.most == 1


def test_an_outage_ends_leadership_and_its_end_brings_it_back(cluster, stand):
    only = stand("only")
    wait_until(lambda: only.is_leader, "it to lead")
    cluster.outage()
    wait_until(lambda: not only.is_leader, "it to stop leading")
    cluster.restore()
    wait_until(lambda: only.is_leader, "it to lead again")


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": ""}, {"holderIdentity": "gone"}])
def test_a_lease_that_tells_too_little_is_taken_in_the_end(client, stand, spec):
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE_NAME, "labels": {"kept": "yes"}},
        "spec": spec,
    }
    client.request("create_lease", "POST", LEASE.rpartition("/")[0], body=body)
    only = stand("only")
    wait_until(lambda: only.is_leader, "it to lead")
    assert read(client)["metadata"]["labels"] == {"kept": "yes"}


@pytest.mark.parametrize("step", [1000, -1000])
def test_a_wall_clock_that_jumps_takes_no_lease_from_its_holder_and_leaves_none_to_the_dead(
    cluster, client, stand, monkeypatch, step
):
    first = stand("first")
    wait_until(lambda: first.is_leader, "the first to lead")
    moments = itertools.count(int(time.time()), step)
    monkeypatch.setattr(time, "time", lambda: float(next(moments)))
    second = stand("second")
    cluster.clear_requests()
    looks = lambda: [r for r in cluster.requests() if r.verb == "get"]  # noqa: E731
    with Observer(first, second) as observer:
        wait_until(lambda: len(looks()) > 20, "many looks at the lease")
        assert read(client)["spec"]["holderIdentity"] == "first"
        monkeypatch.setattr(first, "_release", lambda: None)  # it ends without a word
        assert first.stop(5) == []
        wait_until(lambda: second.is_leader, "the second to lead")
    assert observer.most == 1


@pytest.mark.parametrize("year", [1970, 2100])
def test_a_holder_whose_clock_is_wrong_keeps_its_lease_while_it_renews_it_and_no_longer(
    client, stand, year
):
    spec = {"holderIdentity": "other", "leaseDurationSeconds": DURATION}
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE_NAME},
        "spec": spec,
    }
    lease = client.request("create_lease", "POST", LEASE.rpartition("/")[0], body=body)
    only = stand("only")
    ended = time.monotonic() + 1.5 * DURATION
    second = 0
    while time.monotonic() < ended:
        second += 1
        spec["renewTime"] = f"{year}-01-01T00:{second // 60:02}:{second % 60:02}.000000Z"
        lease = client.request("update_lease", "PUT", LEASE, body={**lease, "spec": spec})
        threading.Event().wait(0.1)
        assert not only.is_leader
    wait_until(lambda: only.is_leader, "the lease to pass")


def test_a_leader_that_cannot_renew_stops_long_before_anybody_else_may_take_the_lease(
    cluster, connect, road: Road
):
    now = [0.0]
    first, second = (
        Leadership(of, NAMESPACE, name, duration_seconds=12, renew_seconds=0.01, clock=clock)
        for of, name, clock in [
            (connect(host=road.host), "first", lambda: now[0]),
            (connect(), "second", lambda: now[0]),
        ]
    )
    looks = lambda: [r for r in cluster.requests() if r.verb == "get"]  # noqa: E731
    try:
        first.start()
        wait_until(lambda: first.is_leader, "the first to lead")
        road.freeze()
        second.start()
        last, taken = 0.0, None
        while taken is None:
            cluster.clear_requests()
            wait_until(lambda: len(looks()) > 2 or second.is_leader, "looks at this time")
            last = now[0] if first.is_leader else last
            taken = now[0] if second.is_leader else None
            now[0] += 0.25
        assert last < 8
        assert taken >= 12
    finally:
        road.thaw()
        assert [*first.stop(5), *second.stop(5)] == []


def test_stopping_before_the_start_is_harmless(client):
    candidate = Leadership(client, NAMESPACE, "nobody")
    assert candidate.stop(1) == []
    candidate.start()
    assert not candidate.is_leader


def test_identities_name_the_pod_and_differ(monkeypatch):
    monkeypatch.setenv("POD_NAME", "pod-1")
    first, second = identity(), identity()
    assert first.startswith("pod-1_")
    assert first != second
