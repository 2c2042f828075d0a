"""Sweeper: deletes Jobs that nobody wants: their builds were cancelled, or have other Jobs.

A replica that was paused may make a Job after its build went on elsewhere; one that is killed then
cannot take it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from lambda_builder.errors import AttemptFailed, Refused
from lambda_builder.journal import JobOf, Journal
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.watcher import JobWatcher

SWEEP_SECONDS = 5.0
_YOUNG_SECONDS = 10.0
"""What became of a build with so young a Job may not be written yet."""


class Sweeper:
    """Compares the Jobs with a shared journal; for one thread."""

    def __init__(
        self,
        watcher: JobWatcher,
        journal: Journal,
        jobs: JobManager,
        *,
        available: Callable[[], bool],
    ) -> None:
        """``available`` says whether the API can be called."""
        self._watcher = watcher
        self._journal = journal
        self._jobs = jobs
        self._available = available

    def sweep(self) -> None:
        """Delete the unwanted Jobs; what cannot be done now is left for the next time."""
        if not (self._watcher.following and self._available()):
            return
        records = [record for record in self._watcher.records() if record.active]
        # All of them: the journal frees the room of those that it does not find here.
        jobs = [JobOf(record.name, record.event_hash, record.uid) for record in records]
        young = time.time() - _YOUNG_SECONDS
        grown = {record.uid for record in records if (record.created_at or 0.0) < young}
        try:
            unwanted = self._journal.unwanted(jobs)
        except Refused:
            return
        for job in unwanted:
            if job.uid in grown:
                self._delete(job)

    def _delete(self, job: JobOf) -> None:
        try:
            deleted = self._jobs.delete_job(job.name, uid=job.uid)
        except AttemptFailed as error:
            structlog.get_logger().warning(
                "unwanted_job_not_deleted", job_name=job.name, error=str(error)
            )
            return
        if deleted:
            structlog.get_logger().warning("unwanted_job_deleted", job_name=job.name)
