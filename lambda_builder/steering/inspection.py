"""Inspection: what a build was asked for with, and made of: its event and its Job."""

from __future__ import annotations

import json
from typing import Any

from lambda_builder.builds import BuildResult
from lambda_builder.errors import AttemptFailed
from lambda_builder.journal import Journal
from lambda_builder.kube.jobs import JobManager
from lambda_builder.problems import kubernetes_failed
from lambda_builder.steering.queries import BuildFinder


class Inspection:
    """Looks closely at builds; thread-safe. Every method raises ``Refused``."""

    def __init__(self, finder: BuildFinder, jobs: JobManager, journal: Journal) -> None:
        self._finder = finder
        self._jobs = jobs
        self._journal = journal

    def event(self, build: BuildResult) -> dict[str, Any] | None:
        """Return the CloudEvent of a build in structured form; None where nobody knows it."""
        event = self._finder.with_event(build).request.event
        if not event:
            return None
        found = json.loads(event)
        return found if isinstance(found, dict) else None

    def job(self, build: BuildResult) -> dict[str, Any] | None:
        """Return the Job of a build as the API has it; None where there is none."""
        try:
            job = self._jobs.get_job(build.request.job_name)
        except AttemptFailed as error:
            raise kubernetes_failed(error, "the Job was not read") from error
        if job is None or job["metadata"]["uid"] != build.job_uid:  # another event's, or nobody's
            return None
        job["metadata"].pop("managedFields", None)
        return job

    def dead_letters_waiting(self) -> int:
        """Return how many events of dead builds wait for ``DEAD_LETTER_URL`` to take them."""
        return self._journal.outbox.pending("dead_letter")
