"""How many orders are tried: some in the suite, many in the soak."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.races.orders import Scenario, explore
from tests.silence import silence

SOAK_FACTOR = 40
"""How many times as many orders the soak tries."""

Explore = Callable[[Scenario, int], None]


@pytest.fixture(params=[1, pytest.param(SOAK_FACTOR, marks=pytest.mark.soak)], ids=["some", "many"])
def in_all_orders(request: pytest.FixtureRequest) -> Iterator[Explore]:
    """Return what runs a scenario in so many orders; what the service logs is not wanted."""
    with silence():
        yield lambda scenario, orders: explore(scenario, orders * request.param)
