"""Times that must fit into each other, or builds are lost: stopping a pod, repeating a delivery."""

from __future__ import annotations

import pytest

from lambda_builder.settings import Settings
from tests.chart.rendering import DEPLOYMENT, ChartEngine

KNATIVE_HOLDS_SIGTERM_SECONDS = 30
"""The queue-proxy's drain: that long without a request, before the service hears of the end."""
LEAST_DELIVERY_SECONDS = 30 * 60


@pytest.mark.parametrize("drain", [0, 0.6, 20, 22.5, 60])
@pytest.mark.parametrize("pre_stop", [0, 5, 20])
def test_the_grace_period_has_room_for_prestop_and_the_whole_stop(
    chart: ChartEngine, drain: float, pre_stop: int
) -> None:
    values = {**DEPLOYMENT, "preStopSeconds": pre_stop, "config": {"drainSeconds": drain}}
    spec = chart.service_pod(values)["spec"]
    (container,) = spec["containers"]
    lifecycle = container.get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
    stopping = Settings(drain_seconds=drain).graceful_timeout
    assert lifecycle["preStop"]["sleep"]["seconds"] == pre_stop
    assert spec["terminationGracePeriodSeconds"] > pre_stop + stopping


def test_a_grace_period_of_ones_own_is_taken_where_it_is_enough(chart: ChartEngine) -> None:
    values = {**DEPLOYMENT, "terminationGracePeriodSeconds": 300}
    assert chart.service_pod(values)["spec"]["terminationGracePeriodSeconds"] == 300


def test_behind_knative_the_timeout_has_room_for_its_own_wait_and_the_whole_stop(
    chart: ChartEngine,
) -> None:
    grace = chart.service_pod({})["spec"]["timeoutSeconds"]
    assert grace >= KNATIVE_HOLDS_SIGTERM_SECONDS * 2 + Settings().graceful_timeout


def test_a_delivery_is_repeated_for_half_an_hour(chart: ChartEngine) -> None:
    triggers = chart.all_of({}, "Trigger")
    assert triggers
    for trigger in triggers:
        delivery = trigger["spec"]["delivery"]
        assert (delivery["retry"], delivery["backoffPolicy"]) == (10, "exponential")
        first = float(delivery["backoffDelay"].removeprefix("PT").removesuffix("S"))
        total = sum(first * 2**attempt for attempt in range(delivery["retry"]))
        assert total >= LEAST_DELIVERY_SECONDS


@pytest.mark.parametrize(
    ("delivery", "minutes"),
    [
        ({"backoffDelay": "PT2S"}, 34),
        ({"backoffDelay": "PT1.8S"}, 30),
        ({"backoffDelay": "PT1H", "retry": 1}, 60),
        ({"backoffDelay": "PT5M", "backoffPolicy": "linear"}, 50),
    ],
)
def test_the_notes_reckon_the_time_of_a_delivery(
    chart: ChartEngine, delivery: dict[str, object], minutes: int
) -> None:
    notes = chart.notes({"triggers": {"delivery": delivery}})
    assert f"cannot be delivered for {minutes} minutes" in notes
    assert "given up after" not in notes
