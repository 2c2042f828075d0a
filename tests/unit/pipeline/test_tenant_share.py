"""How much of the queues of all replicas one tenant may fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from queue import Full

import pytest

from lambda_builder.pipeline.queue import BuildQueue, TenantFull

Others = tuple[int, Mapping[str, int]]


def shared(others: Callable[[], Others]) -> BuildQueue[str]:
    return BuildQueue(10, tenant_share=0.3, others=others)


def reserve(queue: BuildQueue[str], tenant: str, count: int) -> None:
    queue.reserve(count, 0, [tenant] * count)


def test_a_tenant_may_fill_its_share_of_all_queues_together() -> None:
    queue = shared(lambda: (20, {}))
    reserve(queue, "a", 9)
    with pytest.raises(TenantFull):
        reserve(queue, "a", 1)
    reserve(queue, "b", 1)


def test_what_waits_elsewhere_counts_for_its_tenant_alone() -> None:
    queue = shared(lambda: (20, {"a": 7}))
    reserve(queue, "a", 2)
    with pytest.raises(TenantFull):
        reserve(queue, "a", 1)
    reserve(queue, "b", 8)


def test_the_share_follows_the_replicas_that_live() -> None:
    others: list[Others] = [(20, {})]
    queue = shared(lambda: others[-1])
    reserve(queue, "a", 4)
    others.append((0, {}))
    with pytest.raises(TenantFull):
        reserve(queue, "a", 1)


def test_no_share_is_more_than_the_queue_itself() -> None:
    queue = shared(lambda: (1000, {}))
    reserve(queue, "a", 10)
    with pytest.raises(Full) as refused:
        reserve(queue, "a", 1)
    assert not isinstance(refused.value, TenantFull)


def test_where_no_share_is_set_nobody_is_asked_for_others() -> None:
    def others() -> Others:
        pytest.fail("asked")

    reserve(BuildQueue(10, others=others), "a", 10)
