"""Cancel events are taken at once and carried out as soon as they can have an effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lambda_builder.builds import CancelRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.steering import cancels as cancel_events
from lambda_builder.steering.cancels import CancelEvents
from tests.waiting import WAIT_SECONDS, wait_until


class Kubernetes:
    """Refuses cancels by the code that is set for their event id."""

    def __init__(self) -> None:
        self.refusals: dict[str, RefusalCode] = {}
        self.tried: list[str] = []
        self.cancelled: list[str] = []

    def cancel(self, request: CancelRequest, *, accepted_before: float) -> None:
        self.tried.append(request.event_id)
        if request.event_id == "bug":
            raise ZeroDivisionError
        if request.event_id in self.refusals:
            raise Refused(self.refusals[request.event_id], "no")
        self.cancelled.append(request.event_id)


def request(event_id: str) -> CancelRequest:
    return CancelRequest(
        event_id=event_id, event_source="s", event_type="t", correlation_id=event_id, job_name="j"
    )


@contextmanager
def started(kubernetes: Kubernetes) -> Iterator[CancelEvents]:
    cancels = CancelEvents(kubernetes.cancel)
    cancels.start()
    try:
        yield cancels
    finally:
        assert cancels.stop(WAIT_SECONDS) == []


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_events, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(cancel_events, "_LONGEST_PAUSE_SECONDS", 0.05)


def test_cancels_are_carried_out_in_the_order_they_came() -> None:
    kubernetes = Kubernetes()
    with started(kubernetes) as cancels:
        for number in range(20):
            cancels.take(request(str(number)))
    assert kubernetes.cancelled == [str(number) for number in range(20)]


@pytest.mark.parametrize("code", [RefusalCode.KUBERNETES_UNAVAILABLE, RefusalCode.NOT_FOUND])
def test_a_cancel_that_cannot_have_an_effect_yet_is_tried_again_and_holds_nobody_up(
    code: RefusalCode,
) -> None:
    kubernetes = Kubernetes()
    kubernetes.refusals["early"] = code
    with started(kubernetes) as cancels:
        cancels.take(request("early"))
        cancels.take(request("other"))
        wait_until(lambda: kubernetes.cancelled == ["other"], "the other cancel")
        wait_until(lambda: kubernetes.tried.count("early") > 2, "the first to be tried again")
        del kubernetes.refusals["early"]
        wait_until(lambda: kubernetes.cancelled == ["other", "early"], "the first cancel")


@pytest.mark.parametrize("code", [RefusalCode.KUBERNETES_REFUSED, RefusalCode.AMBIGUOUS])
def test_a_cancel_that_waiting_cannot_help_is_tried_once(code: RefusalCode) -> None:
    kubernetes = Kubernetes()
    kubernetes.refusals["poison"] = code
    with started(kubernetes) as cancels:
        for event_id in ("poison", "bug", "good"):
            cancels.take(request(event_id))
        wait_until(lambda: kubernetes.cancelled == ["good"], "the good one")
    assert kubernetes.tried == ["poison", "bug", "good"]


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_events, "_PATIENCE_SECONDS", 0.1)
    kubernetes = Kubernetes()
    kubernetes.refusals["nobody"] = RefusalCode.NOT_FOUND
    with started(kubernetes) as cancels:
        cancels.take(request("nobody"))
        wait_until(lambda: kubernetes.tried and not cancels._waiting, "it to be given up")


def test_no_more_than_a_thousand_wait() -> None:
    kubernetes = Kubernetes()
    cancels = CancelEvents(kubernetes.cancel)
    for number in range(1001):
        cancels.take(request(str(number)))
    cancels.start()
    wait_until(lambda: len(kubernetes.cancelled) == 1000, "the cancels")
    assert cancels.stop(WAIT_SECONDS) == []
    assert kubernetes.cancelled[-1] == "999"
