"""How the thread that finds out about Jobs shares its time."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from lambda_builder.builds import BuildError, BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle.diagnosis import JobDiagnosis


def record(name, state, error=None):
    return JobRecord(name, b"", f"uid-{name}", b"", b"", state, error)


class OneThatWaits:
    """A watch that shows one Job, which does not run."""

    def records(self, state):
        return [record("waits", state)]

    def by_name(self, name):
        return None


class EndlessFailures:
    """Pods of which another Job has failed whenever one is asked about."""

    def __init__(self):
        self.looked = threading.Event()
        self.fail = None

    def of_failed(self, job_name):
        self.fail()

    def of_waiting(self, uids):
        self.looked.set()
        return {}, set()


def test_jobs_that_do_not_run_are_looked_into_however_many_end():
    pods, numbers = EndlessFailures(), itertools.count()
    watch: Any = OneThatWaits()
    asked: Any = pods
    jobs: Any = None  # none is noted on
    diagnosis = JobDiagnosis(watch, asked, jobs, available=lambda: True, look_seconds=0.01)
    error = BuildError("job_failed", "it failed")
    pods.fail = lambda: diagnosis.explain_soon(record(f"{next(numbers)}", BuildState.FAILED, error))
    pods.fail()
    diagnosis.start()
    try:
        assert pods.looked.wait(5)
    finally:
        assert diagnosis.stop(5) == []


class FollowedJob(OneThatWaits):
    """A watch that goes on showing that Job."""

    def by_name(self, name):
        return record(name, BuildState.CREATED)


class Looks:
    """What one look after the other finds of the Job."""

    def __init__(self, *found):
        self._found = list(found)
        self.over = threading.Event()

    def of_waiting(self, uids):
        if not self._found:
            self.over.set()
            return {"uid-waits": TROUBLE}, set()
        found = self._found.pop(0)
        return ({} if found is None else {"uid-waits": found}), set()


TROUBLE = BuildError("image_pull_failed", "not found")


def test_what_keeps_a_job_from_running_is_forgotten_only_when_two_looks_running_find_nothing():
    pods = Looks(TROUBLE, None, TROUBLE, None, TROUBLE, None, None)
    watch: Any = FollowedJob()
    asked: Any = pods
    jobs: Any = None
    diagnosis = JobDiagnosis(watch, asked, jobs, available=lambda: True, look_seconds=0.01)
    told = []
    diagnosis.on_found = lambda job: told.append(diagnosis.known(job).error)
    diagnosis.start()
    try:
        assert pods.over.wait(10)
    finally:
        assert diagnosis.stop(5) == []
    assert told[:2] == [TROUBLE, None]
    assert told[2:] in ([], [TROUBLE])
