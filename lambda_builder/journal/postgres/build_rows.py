"""Builds as rows in PostgreSQL, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from lambda_builder.builds import BuildRequest, BuildResult, BuildState, Priority
from lambda_builder.journal import rows
from lambda_builder.journal.rows import Row, outcome_text, plain, result_of
from lambda_builder.journal.values import OpenBuild
from lambda_builder.selection import searched

BUILD_TYPES = {
    "event_hash": "text",
    "job_name": "text",
    "correlation_id": "text",
    "third_party_id": "text",
    "parser_id": "text",
    "priority": "smallint",
    "accepted_at": "double precision",
    "searched": "text",
    "request": "bytea",
    "event": "bytea",
}
"""What ``build_row`` returns: columns and their types."""
RESULT_TYPES = {
    **BUILD_TYPES,
    "attempts": "integer",
    "state": "text",
    "category": "text",
    "job_uid": "text",
    "skipped": "boolean",
    "outcome": "bytea",
}
"""What ``result_row`` returns."""
RESULT_COLUMNS = "request, attempts, state, outcome"
"""What ``listed`` reads; with ``event`` behind them what ``found`` reads."""
OPEN_COLUMNS = "priority, seq, request, event, attempts"
"""What ``open_builds`` reads."""

_PRIORITIES = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_PLACES = {name: place for place, name in enumerate(RESULT_TYPES)}


def build_row(request: BuildRequest, result: BuildResult | None = None) -> Row:
    """Return ``BUILD_TYPES`` of a build that waits, or of one with a ``result``."""
    shown = result or BuildResult(request=request, state=BuildState.QUEUED)
    return (
        plain(request.event_hash),
        plain(request.job_name),
        plain(request.correlation_id),
        plain(request.third_party_id),
        plain(request.parser_id),
        _PRIORITIES[request.priority],
        request.accepted_at,
        plain(searched((shown,))),
        request.to_json(with_event=False).encode("utf-8", "surrogatepass"),
        request.event,
    )


def result_row(result: BuildResult) -> Row:
    """Return ``RESULT_TYPES``."""
    category = result.error.category if result.error else None
    return (
        *build_row(result.request, result),
        result.attempts,
        result.state.value,
        category and category.value,
        None if result.job_uid is None else plain(result.job_uid),
        result.skipped,
        outcome_text(result),
    )


def result_of_row(row: Row) -> BuildResult:
    """Undo ``result_row``; raises ``Unreadable``."""
    return found([row[_PLACES[name]] for name in (*RESULT_COLUMNS.split(", "), "event")])


def listed(row: Sequence[Any]) -> BuildResult:
    """Read ``RESULT_COLUMNS``, without the event; raises ``Unreadable``."""
    result = result_of(row)
    return result.but(request=result.request.without_event())


def found(row: Sequence[Any]) -> BuildResult:
    """Read ``RESULT_COLUMNS`` and ``event``; raises ``Unreadable``."""
    *columns, event = row
    result = result_of(columns)
    return result.but(request=replace(result.request, event=bytes(event)))


def open_builds(found_rows: Sequence[Sequence[Any]]) -> list[OpenBuild]:
    """Read ``OPEN_COLUMNS``, first what comes first; what cannot be read is logged."""
    builds = []
    for _, seq, request, event, attempts in sorted(found_rows, key=itemgetter(0, 1)):
        with rows.tolerance(seq=seq):
            known = replace(rows.request_of(request), event=bytes(event))
            builds.append(OpenBuild(seq, known, attempts))
    return builds
