"""A Job of ours, as the API has it, as a ``BuildResult``. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
    Priority,
    netstring_digest,
    parse_time,
)
from lambda_builder.kube.labels import (
    ANNOTATIONS,
    APP,
    BUILDING,
    EVENT_HASH_LABEL,
    FAILURE_CATEGORY,
    IMAGE_DIGEST,
    KUEUE_QUEUE_LABEL,
    MANAGED_BY_LABEL,
    REQUEST,
    event_hash_label,
)

SUSPENDED = "suspended"
"""Error code of a Job that is held back: by Kueue, or by whoever set ``spec.suspend``."""
DEADLINE_EXCEEDED = "deadline_exceeded"
"""Error code of a Job that ran out of ``activeDeadlineSeconds``."""
JOB_FAILED = "job_failed"
"""Error code of a Job that failed and does not say why."""

Job = dict[str, Any]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CATEGORIES = {category.value: category for category in FailureCategory}
_PRIORITIES = {priority.value: priority for priority in Priority}
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def reason_code(reason: str) -> str:
    """Return a reason as Kubernetes writes it, ``FailedCreate``, as an error code of ours."""
    return _WORD_START.sub("_", reason).lower()


def image_digest(text: Any) -> str | None:
    """Return the digest that ``text`` is, white space around it aside; None where it is none."""
    stripped = text.strip() if isinstance(text, str) else ""
    return stripped if _DIGEST.fullmatch(stripped) else None


def told_digest(message: Any) -> str | None:
    """Return the digest that a termination message tells; None where it tells none.

    It is the digest alone, or a line of JSON for each name that was pushed, as Kaniko's ``push``
    writes it: pkg/executor/push.go, ``writeImageOutputs``.
    """
    digest = image_digest(message)
    if digest is not None or not isinstance(message, str):
        return digest
    try:
        told = json.loads(message.partition("\n")[0])
    except (ValueError, RecursionError):
        return None
    return image_digest(told.get("digest")) if isinstance(told, dict) else None


def event_hash_of(job: Job) -> str:
    """Return the label that tells which event the Job was made for; empty where it has none."""
    return str((job["metadata"].get("labels") or {}).get(EVENT_HASH_LABEL, ""))


def is_ours(job: Job) -> bool:
    """Whether this service made the Job, and not somebody who gave it a name like ours."""
    labels = job["metadata"].get("labels") or {}
    return labels.get(MANAGED_BY_LABEL) == APP and bool(event_hash_of(job))


def is_finished(job: Job) -> bool:
    """Whether the Job succeeded or failed."""
    return _condition(job, "Complete") is not None or _condition(job, "Failed") is not None


def job_result(job: Job) -> BuildResult:
    """Return what the Job's labels, annotations and status tell of its build.

    ``dead``, ``queued`` and the like never come from here: a Job exists. A Job that is being
    deleted before it finished was cancelled.
    """
    metadata, status = job["metadata"], job.get("status") or {}
    state, error, finished_at = outcome(job)
    request = _request(job)
    started_at = started(state, status)
    return BuildResult(
        request=request,
        state=state,
        error=error,
        job_uid=metadata.get("uid"),
        namespace=metadata.get("namespace"),
        image=request.image,
        image_digest=image_digest(_note(job, IMAGE_DIGEST)),
        created_at=parse_time(metadata.get("creationTimestamp")),
        started_at=started_at,
        finished_at=finished_at,
    )


def started(state: BuildState, status: Mapping[str, Any]) -> float | None:
    """Return when a Job in that state began to run, in seconds since the epoch."""
    return None if state is BuildState.CREATED else parse_time(status.get("startTime"))


def outcome(job: Job) -> tuple[BuildState, BuildError | None, float | None]:
    """Return the state a Job is in, what it says went wrong, and when it ended."""
    status = job.get("status") or {}
    complete, failed = _condition(job, "Complete"), _condition(job, "Failed")
    if complete is not None:
        ended = status.get("completionTime") or complete.get("lastTransitionTime")
        return BuildState.SUCCEEDED, None, parse_time(ended)
    if failed is not None:
        return (
            BuildState.FAILED,
            _failure(job, failed),
            parse_time(failed.get("lastTransitionTime")),
        )
    if "deletionTimestamp" in job["metadata"]:
        return BuildState.CANCELLED, None, parse_time(job["metadata"]["deletionTimestamp"])
    if _is_running(status) or (status.get("active") and _note(job, BUILDING)):
        return BuildState.RUNNING, None, None
    return BuildState.CREATED, _hold(job), None


def _failure(job: Job, condition: dict[str, Any]) -> BuildError:
    reason = str(condition.get("reason") or "")
    code = reason_code(reason) or JOB_FAILED
    message = str(condition.get("message") or reason or "the Job failed")
    return BuildError(code, message, _CATEGORIES.get(_note(job, FAILURE_CATEGORY)))


def _note(job: Job, name: str) -> str:
    return str((job["metadata"].get("annotations") or {}).get(name, ""))


def _is_running(status: dict[str, Any]) -> bool:
    # A pod that is scheduled or pulls its image is active, but not ready; old API servers do not
    # tell them apart. Between a pod's end and the Job's condition the build is not waiting either.
    if status.get("failed") or status.get("succeeded") or status.get("terminating"):
        return True
    return bool(status.get("active")) and bool(status.get("ready", 1))


def _hold(job: Job) -> BuildError | None:
    suspended = _condition(job, "Suspended")
    if not (job.get("spec") or {}).get("suspend") and suspended is None:
        return None
    queue = (job["metadata"].get("labels") or {}).get(KUEUE_QUEUE_LABEL)
    if queue:
        message = f"waits for room in the Kueue queue {queue}"
    else:
        message = str((suspended or {}).get("message") or "the Job is suspended")
    return BuildError(SUSPENDED, message)


def _condition(job: Job, kind: str) -> dict[str, Any] | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == "True":
            found: dict[str, Any] = condition
            return found
    return None


def with_what_was_asked(result: BuildResult, job: Job) -> BuildResult:
    """Return a Job's result with all that its build was asked for, so that it can go again.

    A Job that does not say it, or whose note was tampered with, leaves ``request.event`` empty.
    """
    metadata = job["metadata"]
    note = (metadata.get("annotations") or {}).get(REQUEST, "")
    try:
        asked = BuildRequest.from_json(note)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return result
    own = netstring_digest(asked.event_source, asked.event_id)
    if own != asked.event_hash or event_hash_label(own) != event_hash_of(job):
        return result
    event = json.dumps(asked.as_event(), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return replace(result, request=replace(asked, job_name=metadata["name"], event=event))


def noted_fields(job: Job) -> dict[str, Any]:
    """Return what the Job notes of the fields of its build."""
    metadata = job["metadata"]
    # The ids of the target are labels too, in a safe form.
    known = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    noted = {field: known[name] for field, name in ANNOTATIONS.items() if name in known}
    noted["accepted_at"] = parse_time(noted.get("accepted_at")) or 0.0
    noted["priority"] = _PRIORITIES.get(noted.get("priority", ""), Priority.NORMAL)
    return noted


def _request(job: Job) -> BuildRequest:
    metadata, noted = job["metadata"], noted_fields(job)
    if "event_source" in noted and "event_id" in noted:
        event_hash = netstring_digest(noted["event_source"], noted["event_id"])
    else:
        # A label has room for half of the digest only.
        event_hash = (metadata.get("labels") or {}).get(EVENT_HASH_LABEL, "")
    return BuildRequest.of_job(metadata["name"], event_hash, noted)
