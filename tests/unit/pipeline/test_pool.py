"""What a pool is before its start, and how long a finished run speaks for growth."""

from __future__ import annotations

import pytest

from lambda_builder.pipeline.pool import WorkerPool, _Progress
from lambda_builder.pipeline.queue import BuildQueue


def test_new_bounds_start_no_thread_before_the_pool_starts() -> None:
    pool: WorkerPool[int] = WorkerPool(
        BuildQueue(1),
        lambda _entry: True,
        lambda _entry, _error: None,
        minimum=3,
        maximum=2,
        may_take=lambda _stopping: True,
    )
    assert pool.bounds == (3, 3)
    pool.resize(2, 5)
    assert pool.bounds == (2, 5)
    pool.resize(4, 1)
    assert pool.bounds == (4, 4)
    assert pool.size == 0


@pytest.mark.parametrize(("took", "window"), [(0.1, 0.5), (10.0, 20.0)])
def test_a_finished_run_pays_once_and_for_as_long_as_two_runs_take(
    took: float, window: float
) -> None:
    progress = _Progress(tick_seconds=0.25)
    assert not progress.pays(100.0)
    for _ in range(2):
        progress.finished(100.0 - took, 100.0)
    assert progress.pays(100.0 + window)
    assert not progress.pays(100.1 + window)
    progress.finished(200.0 - took, 200.0)
    assert progress.pays(200.0)
    assert not progress.pays(200.0)
