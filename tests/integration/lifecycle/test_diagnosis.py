"""How the thread that finds out about Jobs shares its time."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest

from lambda_builder import precedence
from lambda_builder.builds import BuildError, BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle import diagnosis as lifecycle_diagnosis
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.precedence import Precedence
from tests.waiting import wait_until


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


class Pushed:
    """Pods that have each pushed; remembers which Jobs were asked about in each call."""

    def __init__(self):
        self.asked = []

    def digest_of(self, name):
        return self.digests_of([name])[name]

    def digests_of(self, names):
        self.asked.append(list(names))
        return dict.fromkeys(names, DIGEST)

    def of_failed(self, _name):
        return None


class NoJobs:
    """A watch that shows none, so that nothing is noted."""

    def by_name(self, _name):
        return None

    def records(self, _state):
        return []


FAILED = BuildError("job_failed", "it failed")
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def pushed():
    return Pushed()


@pytest.fixture
def told(pushed):
    """Names of Jobs about which there was news, with the means to have them explained."""
    watch: Any = NoJobs()
    asked: Any = pushed
    jobs: Any = None
    diagnosis = JobDiagnosis(watch, asked, jobs, available=lambda: True)
    names: list[str] = []
    diagnosis.on_found = lambda job: names.append(job.name)
    diagnosis.start()
    yield diagnosis.explain_soon, names
    assert diagnosis.stop(5) == []


def test_jobs_that_end_soon_after_one_another_are_asked_about_together_and_told_of_once(
    monkeypatch, pushed, told
):
    monkeypatch.setattr(lifecycle_diagnosis, "_GATHER_SECONDS", 3.0)
    explain_soon, names = told
    explain_soon(record("first", BuildState.SUCCEEDED))
    wait_until(lambda: names == ["first"], "the first, at once")
    for name in ("second", "third", "fourth"):
        explain_soon(record(name, BuildState.SUCCEEDED))
    explain_soon(record("last", BuildState.FAILED, FAILED))
    wait_until(lambda: "last" in names, "the others")
    assert names == ["first", "second", "third", "fourth", "last"]
    assert pushed.asked == [["first"], ["second", "third", "fourth"]]


def test_why_a_job_failed_is_found_out_at_once_though_digests_were_just_asked_for(
    monkeypatch, told
):
    monkeypatch.setattr(lifecycle_diagnosis, "_GATHER_SECONDS", 60.0)
    explain_soon, names = told
    explain_soon(record("good", BuildState.SUCCEEDED))
    wait_until(lambda: names == ["good"], "the digest")
    explain_soon(record("bad", BuildState.FAILED, FAILED))
    wait_until(lambda: names == ["good", "bad"], "the failure")


def test_what_was_found_is_told_after_requests_and_the_next_look_is_no_later(monkeypatch):
    monkeypatch.setattr(precedence, "BURST_SECONDS", 3600.0)
    watch: Any = FollowedJob()
    asked: Any = Looks(TROUBLE)
    jobs: Any = None
    order, told, looks = Precedence(), [], []
    is_told = threading.Event()
    diagnosis = JobDiagnosis(
        watch, asked, jobs, available=lambda: True, look_seconds=0.01, precedence=order
    )

    def tell(job):
        told.append(job.uid)
        is_told.set()

    diagnosis.on_found = tell
    diagnosis._look()  # it may only just be about to run
    order.answering()
    look = threading.Thread(target=lambda: looks.append(diagnosis._look()), daemon=True)
    look.start()
    wait_until(order._line.locked, "the news to stand in line")
    assert not is_told.wait(0.1)  # so long a look would put off the next one by half a second
    order.resting(waiting=False)
    look.join(5)
    assert told == ["uid-waits"]
    assert looks[0] - time.monotonic() < 0.3
