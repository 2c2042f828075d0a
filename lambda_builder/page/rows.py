"""Builds as rows of the list, and one build's time as a waterfall. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.page.words import KINDS, gist, stuck

_MESSAGE = 160


@dataclass(frozen=True, slots=True)
class Row:
    """One build in the list. Times are seconds since the epoch."""

    job_name: str
    state: str
    kind: str
    third_party_id: str
    parser_id: str
    correlation_id: str
    accepted_at: float | None
    began_at: float | None
    """Where the seconds that it takes are counted from, while it has not ended."""
    seconds: float | None
    """What it took."""
    attempts: int
    position: int | None
    why: str | None
    """The category of its failure, or the code of its error."""
    message: str
    stuck: str | None


def row(build: BuildResult, position: int | None, now: float) -> Row:
    """Return what the list shows of a build."""
    request, error = build.request, build.error
    begin = request.accepted_at or build.created_at
    end = build.finished_at if build.state.final else None
    return Row(
        job_name=request.job_name,
        state=build.state.value,
        kind=KINDS[build.state],
        third_party_id=request.third_party_id,
        parser_id=request.parser_id,
        correlation_id=request.correlation_id,
        accepted_at=begin,
        began_at=None if build.state.final else begin,
        seconds=max(0.0, end - begin) if begin and end else None,
        attempts=build.attempts,
        position=position,
        why=(error.category or error.code) if error else None,
        message=_shortened(gist(error.message)) if error else "",
        stuck=stuck(build, now),
    )


def _shortened(line: str) -> str:
    return line if len(line) <= _MESSAGE else line[: _MESSAGE - 1] + "…"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a build's time; its place is in thousandths of the whole."""

    name: str
    kind: str
    begin: float
    end: float | None
    """None while it lasts."""
    left: float
    width: float


def waterfall(build: BuildResult, now: float) -> list[Step]:
    """Return what the time of a build was spent on, in its order; empty where nothing is known."""
    steps = [*_steps(build)]
    if not steps:
        return []
    begin = steps[0][2]
    whole = max((end or now) - begin for _, _, _, end in steps)
    whole = max(whole, 0.001)
    return [
        Step(
            name,
            kind,
            start,
            end,
            round(1000 * (start - begin) / whole, 1),
            round(max(3.0, 1000 * ((end or now) - start) / whole), 1),
        )
        for name, kind, start, end in steps
    ]


def _steps(build: BuildResult) -> Iterator[tuple[str, str, float, float | None]]:
    accepted, created = build.request.accepted_at, build.created_at
    started, finished = build.started_at, build.finished_at
    over = finished if build.state.final else None
    moment = accepted or created
    if not moment:
        return
    if accepted:
        created = max(accepted, created) if created else None
        yield "In the queue", "waits", accepted, created or over
    if created:
        # Kubernetes tells whole seconds by a clock of its own.
        started = max(created, started) if started else None
        yield "Job made, not running", "starts", created, started or over
    if started:
        ended = max(started, over) if over else None
        kind = "bad" if build.state is BuildState.FAILED else "runs"
        yield "Running", kind, started, ended
