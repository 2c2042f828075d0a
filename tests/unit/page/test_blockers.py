"""What keeps builds waiting, in words."""

from __future__ import annotations

import pytest

from lambda_builder.page.blockers import notices
from lambda_builder.pipeline.creator import Obstacles
from lambda_builder.pipeline.stats import Stats

FINE = {"worker_count": 5, "max_queue_size": 100}


@pytest.mark.parametrize(
    ("stats", "obstacles", "level", "text"),
    [
        ({}, {}, "good", "Nothing blocks the queue"),
        ({"is_shutdown": True}, {}, "bad", "Shutting down: no event is taken"),
        ({}, {"api_away_since": 46_923}, "bad", "Kubernetes API away since 13:02:03 UTC"),
        ({"worker_count": 0}, {}, "bad", "No worker lives"),
        ({"queue_size": 100}, {}, "bad", "Queue full"),
        ({}, {"full_quota": ("jobs", 46_923.0)}, "warn", "Quota jobs full since 13:02:03 UTC"),
        (
            {"workers_without_room": 2, "active_jobs": 7},
            {},
            "warn",
            "Cap reached: 7 of MAX_ACTIVE_JOBS 7 run",
        ),
        ({}, {"calls_per_second": 10.0}, "warn", "Kubernetes API called slowly: 10 calls a second"),
        ({"oldest_queued_seconds": 360}, {}, "warn", "The oldest build waits for 6 min"),
    ],
)
def test_what_blocks_the_queue_is_said(stats, obstacles, level, text):
    [notice] = notices(Stats(**{**FINE, **stats}), Obstacles(**obstacles), max_active_jobs=7)
    assert (notice.level, notice.text) == (level, text)


def test_the_worst_comes_first_and_what_follows_from_it_is_left_out():
    found = notices(
        Stats(**FINE, queue_size=100, oldest_queued_seconds=900),
        Obstacles(api_away_since=1, full_quota=("q", 1), calls_per_second=1),
        max_active_jobs=0,
    )
    assert [notice.level for notice in found] == ["bad", "bad", "warn"]
