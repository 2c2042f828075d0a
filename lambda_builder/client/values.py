"""What the service answers, as typed values; all are frozen and may be shared between threads.

Fields that a newer service adds are ignored, and kept in ``raw`` where a value has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self, TypedDict

from lambda_builder.builds import BuildState, FailureCategory

_TIMES = ("accepted_at", "created_at", "started_at", "finished_at")


class Filters(TypedDict, total=False):
    """Which builds are meant: all that fit everything given; docs/http-api.rst has the meaning."""

    state: Sequence[str]
    third_party_id: str | None
    parser_id: str | None
    correlation_id: str | None
    category: str | None
    q: str | None
    """A part of any ID, of the image or of the error."""
    since: str | None
    """RFC 3339, as ``until``."""
    until: str | None


class _Answer:
    """A value that is read from a JSON object by the names of its fields."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """Read one; raises ``ValueError``, ``TypeError`` or ``KeyError`` where it is none."""
        names = {each.name for each in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in told.items() if name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(_Answer):
    """An event that was accepted."""

    status: str
    """``queued``, ``duplicate``, ``skipped``, or ``accepted`` of a command."""
    job_name: str | None
    correlation_id: str
    event_id: str
    queue_size: int | None = None
    result_url: str | None = None
    state: str | None = None
    """Of a build that was known already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFailure(_Answer):
    """Why a build has no Job, or why its Job failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReference(_Answer):
    """The CloudEvent that a build comes from."""

    id: str
    source: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Build(_Answer):
    """What is known of one build."""

    job_name: str
    correlation_id: str
    state: BuildState
    attempts: int
    third_party_id: str
    parser_id: str
    event: EventReference
    job_uid: str | None = None
    namespace: str | None = None
    position: int | None = None
    """Place in the queue, from 1, while it waits."""
    error: BuildFailure | None = None
    failure_category: FailureCategory | None = None
    priority: str | None = None
    image: str | None = None
    image_digest: str | None = None
    accepted_at: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """As the service told it."""

    @property
    def succeeded(self) -> bool:
        """Whether its image was built."""
        return self.state is BuildState.SUCCEEDED

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """As for every answer."""
        error, category = told.get("error"), told.get("failure_category")
        parsed = {
            "state": BuildState(told["state"]),
            "event": EventReference.read(told["event"]),
            "error": BuildFailure.read(error) if error else None,
            "failure_category": FailureCategory(category) if category else None,
            "raw": told,
        }
        times = {name: datetime.fromisoformat(told[name]) for name in _TIMES if told.get(name)}
        return super(Build, cls).read({**told, **parsed, **times})


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPage:
    """Some builds, newest first."""

    items: tuple[Build, ...]
    next_cursor: str | None
    """Asks for the builds after these; None where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRefusal(_Answer):
    """A build that was meant and could not be steered."""

    job_name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOutcome:
    """What became of the builds that were meant."""

    matched: int
    """All of them; those neither done nor refused are left for another request."""
    done: int
    refused: tuple[BulkRefusal, ...]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """As for every answer."""
        refused = tuple(BulkRefusal.read(each) for each in told["refused"])
        return cls(matched=told["matched"], done=told["done"], refused=refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(_Answer):
    """The service's counts, all from one instant; docs/http-api.rst has how they add up."""

    worker_count: int
    busy_workers: int
    min_workers: int
    max_workers: int
    queue_size: int
    max_queue_size: int
    delayed: int
    oldest_queued_seconds: float
    results_count: int
    accepted_total: int
    created_total: int
    dead_total: int
    cancelled_total: int
    skipped_total: int
    failed_total: int
    retried_total: int
    rejected_total: int
    duplicates_total: int
    panics_total: int
    api_available: bool
    is_shutdown: bool
    succeeded_total: int = 0
    capacity_blocked: int = 0
    active_jobs: int = 0
    queue_full_total: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """As the service told it."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """As for every answer."""
        return super(Stats, cls).read({**told, "raw": told})


@dataclass(frozen=True, slots=True)
class Change:
    """A build has changed."""

    job_name: str
    state: BuildState
    raw: Mapping[str, Any] = field(compare=False, repr=False)
    """As the service told it."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Changes were missed: read anew what matters."""
