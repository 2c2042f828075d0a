"""The shapes of the answers: OpenAPI is made from them, and tests hold the answers to them.

They are not run on the way of an answer, which has to be fast.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lambda_builder.builds import BuildState, FailureCategory, Priority
from lambda_builder.errors import RefusalCode
from lambda_builder.pipeline.stats import Stats as Stats

_Count = Annotated[int, Field(ge=0)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Digest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]


class Answer(BaseModel):
    """What the service tells: nothing beside what is here, and every field."""

    model_config = ConfigDict(extra="forbid", strict=False, use_attribute_docstrings=True)


class Accepted(Answer):
    """An event that was accepted."""

    status: Literal["queued", "duplicate", "skipped", "accepted"]
    """`accepted` is a command; `duplicate` was seen before; `skipped` has an active Job."""
    job_name: str | None
    correlation_id: str
    event_id: str
    queue_size: _Count | None
    """Builds that wait by now."""
    result_url: str | None
    """Where the build can be read."""
    state: BuildState | None = None
    """Of a build that was known already, or whose target is busy."""


class BatchAnswer(Answer):
    """A batch of events that were accepted, in its order."""

    results: list[Accepted]


class RejectedEvent(Answer):
    """An event that was refused for good."""

    time: Time
    code: RefusalCode
    detail: str
    correlation_id: str | None
    excerpt: dict[str, str | int | list[str]]
    """Attributes and the names of fields; no values of the data, which may be secrets."""


class RejectedEvents(Answer):
    """The last events that were refused for good, newest first."""

    items: list[RejectedEvent]


class AuditEntry(Answer):
    """One build that was cancelled or retried, one request for many, or a try that was refused."""

    time: Time
    identity: str
    """Who: `everybody` where nobody is asked for."""
    address: str
    """From where, as `TRUSTED_PROXIES` tell it."""
    action: Literal["cancel", "retry"]
    via: Literal["api", "bulk", "event"]
    build: str | None
    """The Job's name, or the ID that was named where no build was found; null for many."""
    third_party_id: str | None
    parser_id: str | None
    event_id: str | None
    """Of the cancel or retry event that asked for it."""
    filter: dict[str, str] | None
    """Of a request for many builds, which have entries of their own besides."""
    matched: _Count | None
    done: _Count | None
    outcome: Literal["done"] | RefusalCode


class AuditPage(Answer):
    """Some entries of the audit, newest first."""

    items: list[AuditEntry]
    next_cursor: str | None
    """Asks for the entries after these; null where there are none."""


class BuildFailure(Answer):
    """Why a build has no Job, or why its Job failed."""

    code: str
    message: str


class EventReference(Answer):
    """The CloudEvent that a build comes from."""

    id: str
    source: str
    type: str


class Build(Answer):
    """What is known of one build."""

    job_name: str
    correlation_id: str
    state: BuildState
    """`dead`: no Job could be made; `failed`: the Job ran and failed."""
    job_uid: str | None
    namespace: str | None
    attempts: _Count
    position: Annotated[int, Field(ge=1)] | None
    """Place in the queue, from 1, while it waits there; one that is tried again keeps its own."""
    error: BuildFailure | None
    failure_category: FailureCategory | None
    """Why the Job failed, or does not run, in one word; docs/failures.rst has the rules."""
    event: EventReference
    third_party_id: str
    parser_id: str
    priority: Priority
    image: str | None
    image_digest: Digest | None
    """Of the image that was pushed, where the Job tells it."""
    accepted_at: Time | None
    created_at: Time | None
    started_at: Time | None
    finished_at: Time | None


class BuildPage(Answer):
    """Some builds, newest first."""

    items: list[Build]
    next_cursor: str | None
    """Asks for the builds after these; null where there are none."""


class BulkRefusal(Answer):
    """A build that was meant and could not be steered."""

    job_name: str
    code: RefusalCode
    detail: str


class BulkAnswer(Answer):
    """What became of the builds that were meant."""

    matched: _Count
    """All of them; those neither done nor refused are left for another request."""
    done: _Count
    refused: list[BulkRefusal]


class FieldError(Answer):
    """One field at fault."""

    field: str
    message: str


class Problem(Answer):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    """The cause comes first."""
    code: RefusalCode
    correlation_id: str
    errors: list[FieldError] | None
