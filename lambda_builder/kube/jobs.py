"""Jobs in one namespace: created once, read, found, marked and deleted; as plain dicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lambda_builder.builds import parse_time
from lambda_builder.errors import FailureReason, Permanent, Transient
from lambda_builder.kube.client import MERGE_PATCH, KubeClient, Query
from lambda_builder.kube.errors import Conflict, NotFound
from lambda_builder.kube.labels import (
    ANNOTATIONS,
    CORRELATION_HASH_LABEL,
    EVENT_HASH_LABEL,
    OUR_JOBS,
    PARSER_ID,
    THIRD_PARTY_ID,
    correlation_hash_label,
    safe,
)
from lambda_builder.kube.status import Job, event_hash_of, is_finished

_PAGE = 500
_BEING_DELETED = "being deleted"
_FIRST_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CreatedJob:
    """A Job that exists now; ``existed`` when an earlier attempt at the same event made it."""

    name: str
    uid: str
    created_at: float | None
    """Seconds since the epoch, by the API's clock."""
    existed: bool
    event_hash: str
    """As much of it as the Job's label holds."""

    @classmethod
    def from_job(cls, job: Job, *, existed: bool) -> CreatedJob:
        """Read what the API says of the Job."""
        metadata = job["metadata"]
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            created_at=parse_time(metadata.get("creationTimestamp")),
            existed=existed,
            event_hash=event_hash_of(job),
        )


class NameConflict(Permanent):
    """The name belongs to the Job of another event; ``job`` is that Job, which was not touched."""

    def __init__(self, message: str, job: Job) -> None:
        super().__init__(FailureReason.NAME_CONFLICT, message)
        self.job = job


class JobManager:
    """Our Jobs in ``namespace``. Thread-safe; every method raises as ``KubeClient.request``."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.namespace = namespace

    def create_job(self, manifest: Mapping[str, Any]) -> CreatedJob:
        """Create the Job, or find that this very event has it already.

        Raises ``NameConflict`` when another event's Job has the name, ``Transient`` while a Job
        of that name is being deleted.
        """
        try:
            job = self._client.request("create_job", "POST", self._jobs, body=manifest)
        except Conflict as conflict:
            return self._existing(manifest, conflict)
        return CreatedJob.from_job(job, existed=False)

    def _existing(self, manifest: Mapping[str, Any], conflict: Conflict) -> CreatedJob:
        name = manifest["metadata"]["name"]
        deleted = Transient(
            FailureReason.BEING_DELETED,
            f"Job {name} is being deleted",
            retry_after=conflict.retry_after,
        )
        if _BEING_DELETED in str(conflict):
            raise deleted from conflict
        job = self.get_job(name)
        if job is None:
            # Gone since, or it never was: a quota's own update conflict is a 409 as well.
            raise conflict
        if "deletionTimestamp" in job["metadata"]:
            raise deleted from conflict
        if event_hash_of(job) != manifest["metadata"]["labels"][EVENT_HASH_LABEL]:
            raise NameConflict(_conflict_message(job), job) from conflict
        return CreatedJob.from_job(job, existed=True)

    def dry_run(self, manifest: Mapping[str, Any]) -> Job | None:
        """Let the API check ``manifest``, its admission included, without keeping it.

        Returns what it would keep; None where the name is taken, which is found out after all
        checks. Unknown fields are refused too. Raises ``Permanent`` with what the API wrote.
        """
        query: Query = {"dryRun": "All", "fieldValidation": "Strict"}
        try:
            return self._client.request(
                "dry_run_job", "POST", self._jobs, query=query, body=manifest
            )
        except Conflict:
            return None

    def get_job(self, name: str) -> Job | None:
        """Return the Job, or None when there is none."""
        try:
            return self._client.request("get_job", "GET", self._path(name))
        except NotFound:
            return None

    def list_jobs(self, label_selector: str = OUR_JOBS) -> list[Job]:
        """Return all Jobs with those labels; ``Gone`` when that takes too long."""
        query: Query = {"labelSelector": label_selector, "limit": _PAGE}
        pages = self._client.pages("list_jobs", self._jobs, query)
        return [job for page in pages for job in page.get("items") or ()]

    def find_by_correlation(self, correlation_id: str) -> list[Job]:
        """Return the Jobs with that correlation ID, newest first."""
        digest = correlation_hash_label(correlation_id)
        jobs = self.list_jobs(f"{OUR_JOBS},{CORRELATION_HASH_LABEL}={digest}")
        found = [job for job in jobs if _noted(job, "correlation_id") == correlation_id]
        return sorted(found, key=_creation, reverse=True)

    def find_by_target(self, third_party_id: str, parser_id: str, *, active: bool) -> list[Job]:
        """Return a target's Jobs, newest first, with ``active`` the unfinished ones."""
        selector = (
            f"{OUR_JOBS},{THIRD_PARTY_ID}={safe(third_party_id)},{PARSER_ID}={safe(parser_id)}"
        )
        found = [
            job
            for job in self.list_jobs(selector)
            if _noted(job, "third_party_id") == third_party_id
            and _noted(job, "parser_id") == parser_id
            and not (active and (is_finished(job) or "deletionTimestamp" in job["metadata"]))
        ]
        return sorted(found, key=_creation, reverse=True)

    def delete_job(self, name: str, *, uid: str | None = None, wait_seconds: float = 0) -> bool:
        """Delete the Job, its pods in the background; False when it was not there.

        With ``uid`` only that very Job. With ``wait_seconds`` it has ended on return, or
        ``Transient`` is raised.
        """
        options: dict[str, Any] = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
        }
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self._client.request("delete_job", "DELETE", self._path(name), body=options)
        except NotFound:
            return False
        except Conflict:
            if uid is None:
                raise
            return False
        if wait_seconds > 0:
            self._await_end(name, uid, time.monotonic() + wait_seconds)
        return True

    def _await_end(self, name: str, uid: str | None, deadline: float) -> None:
        pause, delay = threading.Event(), _FIRST_LOOK_SECONDS
        while (job := self.get_job(name)) is not None:
            if uid is not None and job["metadata"]["uid"] != uid:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise Transient(FailureReason.BEING_DELETED, f"Job {name} is still being deleted")
            with self._client.precedence.apart():
                pause.wait(min(delay, left))
            delay = min(2 * delay, _LONGEST_LOOK_SECONDS)

    def patch_annotations(self, name: str, annotations: Mapping[str, str | None], uid: str) -> bool:
        """Set annotations (None removes one) on that very Job; False when it is no longer there."""
        body = {"metadata": {"uid": uid, "annotations": dict(annotations)}}
        try:
            self._client.request(
                "patch_job", "PATCH", self._path(name), body=body, content_type=MERGE_PATCH
            )
        except NotFound:
            return False
        except (Conflict, Permanent) as error:
            # Another uid is a conflict, or "field is immutable": the name has a new Job.
            if isinstance(error, Conflict) or error.reason is FailureReason.INVALID_MANIFEST:
                job = self.get_job(name)
                if job is None or job["metadata"]["uid"] != uid:
                    return False
            raise
        return True

    def _path(self, name: str) -> str:
        return f"{self._jobs}/{quote(name, safe='')}"


def _conflict_message(job: Job) -> str:
    name = job["metadata"]["name"]
    event_id, source = _noted(job, "event_id"), _noted(job, "event_source")
    if not event_id:
        return f"Job {name} exists and was not made for an event of this service"
    return f"Job {name} exists for another event: id {event_id!r}, source {source!r}"


def _noted(job: Job, field: str) -> str:
    return str((job["metadata"].get("annotations") or {}).get(ANNOTATIONS[field], ""))


def _creation(job: Job) -> str:
    return str(job["metadata"].get("creationTimestamp", ""))
