"""Cancel events are taken now, or as soon as Kubernetes can be asked."""

from __future__ import annotations

import pytest

from lambda_builder.builds import CancelRequest
from lambda_builder.cancel_events import CancelEvents
from lambda_builder.errors import RefusalCode, Refused


class Kubernetes:
    def __init__(self) -> None:
        self.available = False
        self.cancelled: list[str] = []

    def cancel(self, request: CancelRequest) -> None:
        if request.event_id == "bad":
            raise Refused(RefusalCode.AMBIGUOUS, "several")
        if not self.available:
            raise Refused(RefusalCode.KUBERNETES_UNAVAILABLE, "away")
        self.cancelled.append(request.event_id)


def request(event_id: str) -> CancelRequest:
    return CancelRequest(
        event_id=event_id, event_source="s", event_type="t", correlation_id=event_id, job_name="j"
    )


def test_a_cancel_that_kubernetes_cannot_hear_is_carried_out_once_it_can() -> None:
    kubernetes = Kubernetes()
    cancels = CancelEvents(kubernetes.cancel, lambda: kubernetes.available)
    for number in range(3):
        cancels.take(request(str(number)))
    cancels.try_again()
    assert kubernetes.cancelled == []
    kubernetes.available = True
    cancels.try_again()
    cancels.try_again()
    assert kubernetes.cancelled == ["0", "1", "2"]


def test_at_most_a_thousand_are_kept_and_the_oldest_goes_first() -> None:
    kubernetes = Kubernetes()
    cancels = CancelEvents(kubernetes.cancel, lambda: kubernetes.available)
    for number in range(1001):
        cancels.take(request(str(number)))
    kubernetes.available = True
    cancels.try_again()
    assert kubernetes.cancelled == [str(number) for number in range(1, 1001)]


def test_what_waiting_cannot_help_is_said_at_once() -> None:
    cancels = CancelEvents(Kubernetes().cancel, lambda: True)
    with pytest.raises(Refused, match="several"):
        cancels.take(request("bad"))
