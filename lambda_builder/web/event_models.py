"""The shapes of the events that are sent: schemas are made from them, tests hold events to them.

As with the answers they are not run on the way of an event. docs/events-out.rst says when which is
sent.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from lambda_builder.builds import BuildState, FailureCategory, Priority
from lambda_builder.errors import RefusalCode
from lambda_builder.web.models import Answer, BuildFailure, Digest, EventReference, Time

_Seconds = Annotated[float, Field(ge=0)] | None


class Durations(Answer):
    """How long each step took, in seconds; null where a time is not known."""

    waiting_seconds: _Seconds
    """From acceptance to the Job."""
    starting_seconds: _Seconds
    """From the Job to its running."""
    running_seconds: _Seconds
    """From its running to its end."""
    total_seconds: _Seconds


class _Told(Answer):
    """What news of either family have of a build."""

    job_name: str
    correlation_id: str
    state: BuildState
    """`dead`: no Job could be made; `failed`: the Job ran and failed."""
    job_uid: str | None
    attempts: Annotated[int, Field(ge=0)]
    failure_category: FailureCategory | None
    """Why the Job failed, in one word; docs/failures.rst has the rules."""
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


class Progress(_Told):
    """A build was accepted, or runs."""

    namespace: str | None
    """Of the Job."""
    error: BuildFailure | None


class Ended(Progress):
    """A build has failed, timed out, was cancelled, or got no Job."""

    durations: Durations


class Completed(Ended):
    """A build has succeeded."""

    provenance: dict[str, Any] | None
    """An in-toto Statement, or the DSSE envelope with it; null where none could be made in time."""


class UpstreamProgress(_Told):
    """A build was accepted, or runs, in the words of `io.knative.lambda`.

    Its own fields are left out where they are not known; none is null.
    """

    name: str
    """The `parser_id`."""
    namespace: str
    """The `third_party_id`; not the Job's namespace."""
    jobName: str
    imageURI: str = ""
    startedAt: Time = ""
    completedAt: Time = ""
    duration: Annotated[str, Field(pattern=r"^[0-9.e+-]+s$")] = ""
    """Of the Job's running, as Go writes a `time.Duration`."""
    error: str = ""
    """The code, a colon, and the message."""


class UpstreamEnded(UpstreamProgress):
    """A build has failed, timed out, was cancelled, or got no Job, in upstream's words."""

    durations: Durations


class UpstreamCompleted(UpstreamEnded):
    """A build has succeeded, in upstream's words."""

    provenance: dict[str, Any] | None
    """An in-toto Statement, or the DSSE envelope with it; null where none could be made in time."""


class Rejected(Answer):
    """An event was refused with a 4xx."""

    code: RefusalCode
    detail: str
    """The cause comes first."""
    excerpt: str
    """JSON: the event's attributes and the names of its data's fields, without values."""
    correlation_id: str | None
