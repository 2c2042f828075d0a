"""Cancel events are taken at once and carried out as soon as Kubernetes can be asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lambda_builder import cancel_events
from lambda_builder.builds import CancelRequest
from lambda_builder.cancel_events import CancelEvents
from lambda_builder.errors import RefusalCode, Refused
from tests.waiting import WAIT_SECONDS, wait_until


class Kubernetes:
    def __init__(self) -> None:
        self.available = True
        self.reachable = True
        self.tried: list[str] = []
        self.cancelled: list[str] = []

    def cancel(self, request: CancelRequest) -> None:
        self.tried.append(request.event_id)
        if request.event_id == "ambiguous":
            raise Refused(RefusalCode.AMBIGUOUS, "several")
        if request.event_id == "bug":
            raise ZeroDivisionError
        if not self.reachable:
            raise Refused(RefusalCode.KUBERNETES_UNAVAILABLE, "away")
        self.cancelled.append(request.event_id)


def request(event_id: str) -> CancelRequest:
    return CancelRequest(
        event_id=event_id, event_source="s", event_type="t", correlation_id=event_id, job_name="j"
    )


@contextmanager
def started(kubernetes: Kubernetes) -> Iterator[CancelEvents]:
    cancels = CancelEvents(kubernetes.cancel, lambda: kubernetes.available)
    cancels.start()
    try:
        yield cancels
    finally:
        assert cancels.stop(WAIT_SECONDS) == []


def test_cancels_are_carried_out_in_the_order_they_came() -> None:
    kubernetes = Kubernetes()
    with started(kubernetes) as cancels:
        for number in range(20):
            cancels.take(request(str(number)))
    assert kubernetes.cancelled == [str(number) for number in range(20)]


def test_a_cancel_that_kubernetes_cannot_hear_is_carried_out_once_it_can(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(cancel_events, "_AGAIN_SECONDS", 0.01)
    kubernetes = Kubernetes()
    kubernetes.reachable = False
    with started(kubernetes) as cancels:
        cancels.take(request("a"))
        cancels.take(request("b"))
        wait_until(lambda: kubernetes.tried.count("a") > 2, "the cancel to be tried again")
        kubernetes.reachable = True
        wait_until(lambda: kubernetes.cancelled == ["a", "b"], "both cancels")


def test_nothing_is_asked_while_the_api_is_away(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(cancel_events, "_AGAIN_SECONDS", 0.01)
    kubernetes = Kubernetes()
    kubernetes.available = False
    with started(kubernetes) as cancels:
        cancels.take(request("a"))
        threading.Event().wait(0.1)  # long enough for several rounds
        assert kubernetes.tried == []
        kubernetes.available = True
        wait_until(lambda: kubernetes.cancelled == ["a"], "the cancel")


def test_a_cancel_without_effect_or_with_a_bug_does_not_stop_the_next() -> None:
    kubernetes = Kubernetes()
    with started(kubernetes) as cancels:
        for event_id in ("ambiguous", "bug", "good"):
            cancels.take(request(event_id))
    assert kubernetes.cancelled == ["good"]


def test_at_most_a_thousand_wait_and_the_oldest_goes_first() -> None:
    kubernetes = Kubernetes()
    cancels = CancelEvents(kubernetes.cancel, lambda: True)
    for number in range(1001):
        cancels.take(request(str(number)))
    cancels.start()
    wait_until(lambda: len(kubernetes.cancelled) == 1000, "the cancels")
    assert cancels.stop(WAIT_SECONDS) == []
    assert kubernetes.cancelled[0] == "1"
