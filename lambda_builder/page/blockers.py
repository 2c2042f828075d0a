"""What keeps builds waiting, in words. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lambda_builder.page.words import WAITING_SECONDS, span
from lambda_builder.pipeline.creator import Obstacles
from lambda_builder.pipeline.stats import Stats


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that the operators should know."""

    level: str
    """``good``, ``warn`` or ``bad``."""
    text: str
    more: str = ""


def notices(stats: Stats, obstacles: Obstacles, *, max_active_jobs: int) -> list[Notice]:
    """Return what stands in the way, the worst first; one that says so where nothing does."""
    found: list[Notice] = []
    if stats.is_shutdown:
        found.append(Notice("bad", "Shutting down: no event is taken", "another replica may"))
    if obstacles.api_away_since is not None:
        found.append(
            Notice(
                "bad",
                f"Kubernetes API away since {_clock(obstacles.api_away_since)}",
                "builds wait and none is lost; it is probed and all goes on when it is back",
            )
        )
    if stats.worker_count == 0 and not stats.is_shutdown:
        found.append(Notice("bad", "No worker lives", "nothing leaves the queue"))
    if stats.queue_size >= stats.max_queue_size > 0:
        found.append(
            Notice("bad", "Queue full", "new events are refused with 503 until builds leave it")
        )
    if obstacles.full_quota is not None:
        quota, since = obstacles.full_quota
        found.append(
            Notice(
                "warn",
                f"Quota {quota} full since {_clock(since)}",
                "builds wait for Jobs to end, or for a larger quota",
            )
        )
    if stats.workers_without_room:
        found.append(
            Notice(
                "warn",
                f"Cap reached: {stats.active_jobs} of MAX_ACTIVE_JOBS {max_active_jobs} run",
                f"{stats.workers_without_room} workers wait for one to end",
            )
        )
    return found + _slow(stats, obstacles, found=bool(found))


def _slow(stats: Stats, obstacles: Obstacles, *, found: bool) -> list[Notice]:
    if obstacles.calls_per_second is not None and obstacles.api_away_since is None:
        rate = f"{obstacles.calls_per_second:.0f} calls a second"
        return [Notice("warn", f"Kubernetes API called slowly: {rate}", "it asked for it")]
    if found:
        return []
    if stats.oldest_queued_seconds > WAITING_SECONDS:
        waits = span(stats.oldest_queued_seconds)
        return [
            Notice(
                "warn",
                f"The oldest build waits for {waits}",
                "workers are slower than events come: see attempts and errors below",
            )
        ]
    return [Notice("good", "Nothing blocks the queue")]


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(moment))
