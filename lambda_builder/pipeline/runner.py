"""BuildRunner: one build, one attempt: template, Job manager, outcome. No threads, no queue."""

from __future__ import annotations

from collections.abc import Callable

from lambda_builder.builds import BuildRequest, BuildResult, BuildState
from lambda_builder.errors import FailureReason, Permanent
from lambda_builder.kube.jobs import CreatedJob, JobManager
from lambda_builder.kube.labels import ANNOTATIONS, APP, MANAGED_BY_LABEL, event_hash_label
from lambda_builder.kube.status import Job, event_hash_of, job_result
from lambda_builder.manifest.template import JobTemplate, Manifest

_DELETE_WAIT_SECONDS = 10.0


class TargetBusy(Exception):
    """Another event's Job for the same third party and parser is still active."""

    def __init__(self, job_name: str) -> None:
        super().__init__(job_name)
        self.job_name = job_name


def image_of(manifest: Manifest) -> str:
    """Return the image that a rendered Job pushes."""
    return str(manifest["metadata"]["annotations"][ANNOTATIONS["image"]])


class BuildRunner:
    """Makes one attempt at a build; thread-safe."""

    def __init__(self, template: JobTemplate, jobs: JobManager, *, one_per_target: bool) -> None:
        self._template = template
        self._jobs = jobs
        self._one_per_target = one_per_target

    def render(self, request: BuildRequest) -> Manifest:
        """Return the manifest of the build's Job."""
        return self._template.render(request)

    def create(self, request: BuildRequest, manifest: Manifest) -> CreatedJob:
        """Create the build's Job, or find that it exists.

        Raises ``Transient`` or ``Permanent``; and ``TargetBusy`` where Jobs are named by target
        and another event's Job is unfinished.
        """
        try:
            return self._jobs.create_job(manifest)
        except Permanent as error:
            if not self._one_per_target or error.reason is not FailureReason.NAME_CONFLICT:
                raise
            self._make_way(request, error)
        try:
            return self._jobs.create_job(manifest)
        except Permanent as error:
            if error.reason is not FailureReason.NAME_CONFLICT:
                raise
            # Another worker's event took the name that had just become free.
            raise TargetBusy(request.job_name) from error

    def look(self, request: BuildRequest) -> CreatedJob | None:
        """Return the build's Job if it is there; raises ``Transient`` or ``Permanent``."""
        job = self._own(request)
        return None if job is None else CreatedJob.from_job(job, existed=True)

    def current(self, request: BuildRequest) -> BuildResult | None:
        """Return what the build's Job says of it now; raises ``Transient`` or ``Permanent``."""
        job = self._own(request)
        return None if job is None else job_result(job)

    def _own(self, request: BuildRequest) -> Job | None:
        job = self._jobs.get_job(request.job_name)
        label = event_hash_label(request.event_hash)
        # A Job without the label is somebody else's, whatever its name.
        return job if job is not None and label and event_hash_of(job) == label else None

    def remove(
        self,
        request: BuildRequest,
        *,
        wait_seconds: float = 0.0,
        check: Callable[[], object] = lambda: None,
    ) -> bool:
        """Delete the build's Job with its pods; another event's Job is left alone.

        Returns whether there was one. Raises ``Transient`` or ``Permanent``, and what ``check``
        raises, which is called once it is known which Job that is.
        """
        job = self.look(request)
        if job is None:
            return False
        check()
        return self._jobs.delete_job(job.name, uid=job.uid, wait_seconds=wait_seconds)

    def _make_way(self, request: BuildRequest, conflict: Permanent) -> None:
        """Delete our finished Job of another event that has the target's name; no foreign one."""
        job = self._jobs.get_job(request.job_name)
        if job is None:
            return
        if job["metadata"].get("labels", {}).get(MANAGED_BY_LABEL) != APP:
            raise conflict
        if job_result(job).state not in (BuildState.SUCCEEDED, BuildState.FAILED):
            raise TargetBusy(request.job_name)
        uid = job["metadata"]["uid"]
        self._jobs.delete_job(request.job_name, uid=uid, wait_seconds=_DELETE_WAIT_SECONDS)
