"""Which news of a Job follows from its state and from what was announced already. Pure."""

from __future__ import annotations

from typing import Final, cast

from lambda_builder.builds import BuildError, BuildResult, BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.kube.status import DEADLINE_EXCEEDED
from lambda_builder.outgoing.messages import BuildNews

_STARTED: Final[BuildNews] = "started"
_FINAL: Final[tuple[BuildNews, ...]] = ("complete", "failed", "timeout", "cancelled")
_CANCELLED = BuildError("cancelled", "its Job was deleted")


def due_news(record: JobRecord, announced: str | None) -> list[BuildNews]:
    """Return what has to be announced of a Job, in order, when ``announced`` was the last that was.

    A Job that is first seen after its end has started as well. One that was deleted before it
    started has not.
    """
    if is_final(announced):
        return []
    end = _end(record)
    news: list[BuildNews] = []
    if announced != _STARTED and _has_started(record):
        news.append(_STARTED)
    if end is not None:
        news.append(end)
    return news


def _has_started(record: JobRecord) -> bool:
    if record.state is BuildState.CANCELLED:
        return record.started_at is not None
    return record.state is not BuildState.CREATED


def _end(record: JobRecord) -> BuildNews | None:
    if record.state is BuildState.SUCCEEDED:
        return "complete"
    if record.state is BuildState.CANCELLED:
        return "cancelled"
    if record.state is not BuildState.FAILED:
        return None
    timed_out = record.error is not None and record.error.code == DEADLINE_EXCEEDED
    return "timeout" if timed_out else "failed"


def is_final(announced: str | None) -> bool:
    """Whether nothing can follow on that news."""
    return announced in _FINAL


def later(one: str | None, other: str | None) -> BuildNews | None:
    """Return whichever of two pieces of news of one Job comes after the other."""
    for announced in (one, other):
        if is_final(announced):
            return cast(BuildNews, announced)
    return _STARTED if _STARTED in (one, other) else None


def news_result(news: BuildNews, result: BuildResult) -> BuildResult:
    """Return the build as it was when the news came about."""
    if news == _STARTED:
        return result.but(state=BuildState.RUNNING, error=None, finished_at=None)
    if news == "cancelled":
        return result.but(error=_CANCELLED)
    return result


def when(news: BuildNews, result: BuildResult) -> float | None:
    """Return when the news came about, in seconds since the epoch; None where nobody knows."""
    if news == _STARTED:
        return result.started_at or result.created_at
    return result.finished_at
