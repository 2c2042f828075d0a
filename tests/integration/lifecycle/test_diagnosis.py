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
        return {}


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
