"""Builds follow their Jobs: states, ends counted once, and the reason where one does not run."""

from __future__ import annotations

import time

import pytest

from lambda_builder.builds import BuildError, BuildResult, BuildState
from lambda_builder.devcluster import Fault
from lambda_builder.journal import NoJournal
from lambda_builder.kube.pod_diagnosis import PodDiagnosis
from lambda_builder.kube.pods import PodReader
from lambda_builder.kube.record import record_of
from lambda_builder.kube.status import job_result
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.lifecycle.tracker import BuildLifecycle
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.telemetry.metrics import Metrics
from tests.waiting import wait_until

from .conftest import NAMESPACE, quick_jobs, request_for


class Replica:
    """One replica's view of builds and Jobs."""

    def __init__(self, client, jobs):
        self.client, self.jobs = client, jobs
        self.journal, self.metrics = NoJournal(), Metrics()
        announcer = Announcer(source="test", overrides={}, sink=False, dead_letters=False)
        self.results = ResultStore(ttl_seconds=60, maximum=10_000)
        self.ledger = Ledger(
            self.results,
            LiveBuilds(),
            self.journal,
            Announcements(announcer, self.journal.outbox),
            namespace=NAMESPACE,
        )
        self.watcher = JobWatcher(client, NAMESPACE)
        self.diagnosis = JobDiagnosis(
            self.watcher,
            PodDiagnosis(PodReader(client, NAMESPACE)),
            jobs,
            available=lambda: True,
            look_seconds=0.2,
        )
        self.lifecycle = BuildLifecycle(
            self.watcher,
            self.ledger,
            self.metrics,
            self.diagnosis,
            ChangeFeed(),
            gone_seconds=60,
        )
        self.watcher.listen(self.lifecycle.job_changed)

    def start(self):
        self.watcher.start()
        self.diagnosis.start()
        wait_until(lambda: self.watcher.following, "the watch")

    def stop(self):
        assert self.diagnosis.stop(5) == []
        assert self.watcher.stop(5) == []

    def create(self, builds, event_id="id-1", **fields):
        """Do what a worker does: create the Job, then record it, then say so."""
        request = request_for(event_id, **fields)
        build = Build(request)
        self.ledger.accepted([build])
        created = builds.create_job(request)
        self.ledger.created(build, created)
        self.lifecycle.refresh(request.job_name)
        return request

    def result(self, request):
        return self.results.by_event(request.event_hash)

    def state(self, request):
        return self.result(request).state.value

    def finished(self, result):
        return self.metrics.registry.get_sample_value(
            "build_jobs_finished_total", {"result": result}
        )


@pytest.fixture
def new_replica(client, jobs):
    """Make a replica, started by default; each is stopped at the end."""
    made = []

    def make(*, start=True):
        made.append(Replica(client, jobs))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for replica in made:
        replica.stop()


@pytest.fixture
def replica(new_replica):
    return new_replica()


def test_a_build_follows_its_job_to_success(cluster, builds, replica):
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    assert replica.result(request).started_at is not None
    cluster.finish_job(request.job_name)
    wait_until(lambda: replica.state(request) == "succeeded", "the build's end")
    result = replica.result(request)
    assert result.finished_at >= result.started_at >= result.created_at
    assert result.error is None
    assert replica.finished("succeeded") == 1


def test_a_failed_build_tells_container_exit_code_and_last_log_lines(cluster, builds, replica):
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    cluster.finish_job(request.job_name, succeeded=False, exit_code=137, reason="OOMKilled")
    wait_until(lambda: "OOMKilled" in str(replica.result(request).error), "the reason")
    error = replica.result(request).error
    assert error.code == "backoff_limit_exceeded"
    assert "container push: OOMKilled, exit code 137" in error.message
    assert error.message.rstrip().endswith("exit status 137")
    assert replica.state(request) == "failed"
    assert (replica.finished("failed"), replica.lifecycle.failed_total) == (1, 1)


def test_a_build_that_ran_out_of_time_says_so(cluster, builds, replica):
    request = replica.create(builds)
    cluster.finish_job(request.job_name, succeeded=False, reason="DeadlineExceeded")
    wait_until(lambda: replica.state(request) == "failed", "the build's end")
    assert replica.result(request).error.code == "deadline_exceeded"
    wait_until(lambda: replica.finished("timeout") == 1, "the count")
    assert replica.finished("failed") == 0


@pytest.mark.parametrize(
    "message",
    [
        'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
        "exceeded quota: pods, requested: pods=1, used: pods=5, limited: pods=5",
        'error looking up service account knative-lambda/builder: "builder" not found',
    ],
)
def test_a_job_whose_pods_are_refused_says_why_until_it_runs(cluster, builds, replica, message):
    cluster.add_fault(Fault("refuse_pods", message=message))
    request = replica.create(builds)
    wait_until(lambda: replica.result(request).error, "the reason")
    result = replica.result(request)
    assert (result.state, result.error.code) == (BuildState.CREATED, "failed_create")
    assert message in result.error.message
    cluster.clear_faults()
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    assert replica.result(request).error is None


def test_a_job_whose_image_cannot_be_pulled_says_why_until_it_runs(cluster, builds, replica):
    cluster.add_fault(Fault("image_pull", message="unauthorized: access denied"))
    request = replica.create(builds)
    wait_until(lambda: replica.result(request).error, "the reason")
    result = replica.result(request)
    assert (result.state, result.error.code) == (BuildState.CREATED, "image_pull_failed")
    assert "unauthorized: access denied" in result.error.message
    cluster.clear_faults()
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    assert replica.result(request).error is None


def test_a_trouble_that_is_over_is_forgotten_before_the_job_runs(cluster, builds, replica):
    cluster.add_fault(Fault("refuse_pods"))
    request = replica.create(builds)
    wait_until(lambda: replica.result(request).error, "the reason")
    stuck = replica.watcher.by_name(request.job_name)
    cluster.pause_kubelet()
    cluster.clear_faults()
    cluster.add_fault(Fault("slow_pods", seconds=1))
    cluster.resume_kubelet()
    wait_until(lambda: replica.result(request).error is None, "the reason to go")
    assert replica.state(request) == "created"
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    assert replica.diagnosis.known(stuck).error is None


def test_a_job_that_runs_leaves_no_trouble_behind(cluster, builds, replica):
    cluster.add_fault(Fault("refuse_pods"))
    request = replica.create(builds)
    wait_until(lambda: replica.result(request).error, "the reason")
    stuck = replica.watcher.by_name(request.job_name)
    cluster.clear_faults()
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    assert replica.diagnosis.known(stuck).error is None


def test_a_job_held_back_on_purpose_is_not_in_trouble(cluster, builds, replica, client):
    request = replica.create(builds)
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{request.job_name}"
    client.request(
        "patch_job", "PATCH", path, body={"spec": {"suspend": True}},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    wait_until(lambda: replica.result(request).error, "the reason")
    result = replica.result(request)
    assert (result.state, result.error.code) == (BuildState.CREATED, "suspended")
    assert replica.watcher.active_count == 1


def test_nothing_is_asked_about_jobs_that_run(cluster, builds, replica):
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    looks = []
    replica.diagnosis._watcher = _Counting(replica.watcher, looks)
    wait_until(lambda: len(looks) >= 3, "some looks")
    assert not [r for r in cluster.requests() if r.resource in ("pods", "events")]


class _Counting:
    def __init__(self, watcher, looks):
        self._watcher, self._looks = watcher, looks

    def records(self, state):
        self._looks.append(None)
        return self._watcher.records(state)


def test_a_job_deleted_by_hand_cancels_its_build(builds, jobs, replica):
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    jobs.delete_job(request.job_name)
    wait_until(lambda: replica.state(request) == "cancelled", "the build's end")
    assert replica.result(request).error.code == "cancelled"
    assert replica.finished("cancelled") == 1


def test_a_build_cancelled_here_is_not_brought_back_by_its_jobs_last_news(builds, jobs, replica):
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    replica.ledger.job_cancelled(replica.result(request))
    jobs.delete_job(request.job_name)
    wait_until(lambda: replica.watcher.by_name(request.job_name) is None, "the Job to be gone")
    assert replica.state(request) == "cancelled"


def test_a_build_declared_dead_is_healed_by_the_job_it_has_after_all(builds, replica):
    request = request_for("id-1")
    build = Build(request)
    replica.ledger.accepted([build])
    replica.ledger.dead(build, BuildError("timeout", "no answer in time"))
    builds.create("id-1")
    wait_until(lambda: replica.state(request) == "running", "the build to be healed")
    assert replica.result(request).error is None


def test_a_job_known_to_the_watch_before_its_worker_knows_it_is_caught_up_with(
    cluster, builds, replica
):
    request = request_for("id-1")
    build = Build(request)
    replica.ledger.accepted([build])
    created = builds.create_job(request)
    cluster.finish_job(request.job_name)
    wait_until(
        lambda: [r.state.value for r in replica.watcher.records()] == ["succeeded"],
        "the watch to show the end",
    )
    assert replica.state(request) == "queued"
    replica.ledger.created(build, created)
    replica.lifecycle.refresh(request.job_name)
    assert replica.state(request) == "succeeded"


def test_an_end_seen_while_the_creation_is_being_recorded_is_recorded_after_it(
    cluster, builds, new_replica, monkeypatch
):
    replica = new_replica(start=False)
    request, calls, states = request_for("id-1"), [], []
    build = Build(request)
    replica.ledger.accepted([build])
    created = builds.create_job(request)
    cluster.finish_job(request.job_name)
    ended = record_of(cluster.job(request.job_name))

    def finish(result, messages=()):
        calls.append(None)
        if len(calls) == 1:
            replica.ledger.job_changed(ended)  # the watch is quicker than the worker
        states.append(result.state.value)

    monkeypatch.setattr(replica.journal, "finish", finish)
    replica.ledger.created(build, created)
    replica.ledger.job_changed(ended)
    assert states == ["created", "succeeded"]


def test_a_build_being_tried_again_is_not_ended_by_its_old_job(cluster, builds, jobs, replica):
    request = replica.create(builds)
    cluster.finish_job(request.job_name, succeeded=False)
    wait_until(lambda: replica.state(request) == "failed", "the build's end")
    jobs.delete_job(request.job_name)
    with replica.ledger.reopening(replica.result(request)) as build:
        pass
    wait_until(lambda: replica.watcher.by_name(request.job_name) is None, "the Job to be gone")
    assert replica.state(request) == "queued"
    replica.ledger.created(build, builds.create_job(request))
    replica.lifecycle.refresh(request.job_name)
    wait_until(lambda: replica.state(request) == "running", "the new Job to run")


def test_ends_are_counted_once_over_lists_and_not_for_what_ended_before(
    cluster, builds, new_replica
):
    early, late = builds.create("id-1"), builds.create("id-2")
    cluster.finish_job(early.job_name)
    replica = new_replica()
    cluster.finish_job(late.job_name)
    wait_until(lambda: replica.finished("succeeded") == 1, "the count")
    cluster.clear_requests()
    cluster.add_fault(Fault("expire_watch", resource="jobs", times=1))
    wait_until(
        lambda: [r.verb for r in cluster.requests() if r.resource == "jobs"].count("watch"),
        "a list and a watch",
    )
    assert replica.finished("succeeded") == 1


def test_a_pod_whose_clock_is_slow_counts_no_end_from_before_its_start(
    cluster, builds, new_replica, monkeypatch
):
    early, late = builds.create("id-1"), builds.create("id-2")
    cluster.finish_job(early.job_name)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - 3600)
    replica = new_replica()
    cluster.finish_job(late.job_name)
    over = lambda: {r.state for r in replica.watcher.records()} == {BuildState.SUCCEEDED}  # noqa: E731
    wait_until(over, "both ends to be seen")
    wait_until(lambda: replica.finished("succeeded") >= 1, "the count")
    assert replica.finished("succeeded") == 1


@quick_jobs
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_many_builds_end_as_their_jobs_do(cluster, builds, replica, count):
    bad, good = count // 10, count - count // 10
    cluster.add_fault(Fault("fail", times=bad))
    requests = [replica.create(builds, f"id-{number}") for number in range(count)]
    wait_until(
        lambda: all(replica.result(request).state.final for request in requests),
        "all to end",
        timeout=60,
    )
    states = [replica.state(request) for request in requests]
    assert (states.count("succeeded"), states.count("failed")) == (good, bad)
    assert (replica.finished("succeeded"), replica.finished("failed")) == (good, bad)
    failed = [request for request in requests if replica.state(request) == "failed"]
    wait_until(
        lambda: all("exit code 1" in replica.result(r).error.message for r in failed),
        "all failures to be explained",
        timeout=60,
    )


def from_api(cluster, request):
    return job_result(cluster.job(request.job_name))


def test_another_replica_tells_the_same_of_a_build_it_never_saw(cluster, builds, new_replica):
    first, other = new_replica(), new_replica()
    failed, stuck = first.create(builds, "id-1"), request_for("id-2")
    wait_until(lambda: first.state(failed) == "running", "the build to run")
    cluster.finish_job(failed.job_name, succeeded=False, exit_code=3)
    cluster.add_fault(Fault("refuse_pods", message="no such service account"))
    first.create(builds, "id-2")
    wait_until(lambda: first.result(stuck).error, "the reason")
    wait_until(
        lambda: other.lifecycle.current(from_api(cluster, stuck)).error, "the other's reason"
    )
    wait_until(lambda: "exit code 3" in first.result(failed).error.message, "the explanation")
    for request in (failed, stuck):
        mine, theirs = first.result(request), other.lifecycle.current(from_api(cluster, request))
        assert (theirs.state, theirs.error) == (mine.state, mine.error)


def test_a_result_from_the_journal_is_brought_up_to_its_job(cluster, builds, replica):
    request = builds.create()
    cluster.finish_job(request.job_name)
    stale = BuildResult(
        request=request, state=BuildState.CREATED, attempts=2, created_at=time.time()
    )
    wait_until(lambda: replica.watcher.by_name(request.job_name), "the watch to show the Job")
    wait_until(
        lambda: replica.lifecycle.current(stale).state is BuildState.SUCCEEDED, "the Job's end"
    )
    assert replica.lifecycle.current(stale).attempts == 2


def test_a_result_from_the_journal_has_the_end_of_a_job_that_has_just_gone(
    cluster, builds, jobs, replica
):
    request = builds.create()
    stale = BuildResult(request=request, state=BuildState.CREATED, created_at=time.time())
    cluster.finish_job(request.job_name)

    def shown() -> BuildResult | None:
        return replica.lifecycle.current(stale)

    wait_until(lambda: shown() and shown().state is BuildState.SUCCEEDED, "the Job's end")
    jobs.delete_job(request.job_name)
    wait_until(lambda: replica.watcher.by_name(request.job_name) is None, "the Job to be gone")
    wait_until(shown, "the news of that")
    assert shown().state is BuildState.SUCCEEDED


def test_a_result_whose_job_is_gone_is_gone_unless_its_end_is_known(replica):
    request = request_for("id-1")
    for state in BuildState:
        for minute in (-60, 0, 60):  # the API's clock may be anywhere
            created_at = time.time() + 60 * minute
            result = BuildResult(request=request, state=state, created_at=created_at)
            had_a_job = state in (BuildState.CREATED, BuildState.RUNNING)
            assert replica.lifecycle.current(result) is (None if had_a_job else result)


@pytest.mark.parametrize("cluster", [{"init_seconds": 4, "run_seconds": 3600}], indirect=True)
def test_a_job_whose_init_container_builds_runs(cluster, builds, new_replica):
    replica, other = new_replica(), new_replica()
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    status = cluster.job(request.job_name)["status"]
    assert (status["active"], status.get("ready")) == (1, 0)
    wait_until(
        lambda: other.watcher.by_name(request.job_name).state is BuildState.RUNNING,
        "the other replica to know it",
    )
    assert replica.result(request).started_at is not None
