"""The watch on our Jobs over real HTTP: what it tells, and what no interruption makes it miss."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import Fault
from lambda_builder.kube import reflector
from lambda_builder.kube.watcher import JobWatcher
from tests.waiting import wait_until

from .conftest import NAMESPACE, quick_jobs


def test_a_job_is_followed_from_its_creation_to_its_end(cluster, builds, watch, heard):
    watcher = watch()
    wait_until(lambda: watcher.following, "the watch")
    name = builds.create().job_name
    wait_until(lambda: "running" in heard.states(name), "the Job to run")
    cluster.finish_job(name)
    wait_until(lambda: "succeeded" in heard.states(name), "the Job's end")
    assert heard.of(name) == [
        ("appeared", "created"),
        ("changed", "running"),
        ("changed", "succeeded"),
    ]
    record = watcher.by_name(name)
    assert record.finished_at >= record.started_at >= record.created_at > 0
    assert watcher.active_count == 0


def test_jobs_from_before_the_start_are_known_once_synced(cluster, builds, watch):
    requests = [builds.create(f"id-{number}") for number in range(25)]
    watcher = watch(page_size=10)
    wait_until(lambda: watcher.synced, "the list")
    assert {record.name for record in watcher.records()} == {r.job_name for r in requests}
    assert watcher.active_count == 25
    lists = [r for r in cluster.requests() if (r.verb, r.resource) == ("list", "jobs")]
    assert len(lists) == 3


def test_jobs_are_found_by_event_and_by_target(builds, watch, cluster):
    first = builds.create("a", parser_id="p")
    second = builds.create("b", parser_id="q")
    watcher = watch()
    wait_until(lambda: watcher.synced, "the list")
    assert watcher.by_event(first.event_hash).name == first.job_name
    assert watcher.by_event(first.event_hash[:32]).name == first.job_name
    assert watcher.by_event("no digest") is None
    assert watcher.active_job("customer-1", "nobody", second.event_hash) is None
    assert watcher.active_job("customer-1", "p", second.event_hash) == first.job_name
    assert watcher.active_job("customer-1", "p", first.event_hash) is None
    cluster.finish_job(first.job_name, succeeded=False)
    wait_until(lambda: watcher.active_job("customer-1", "p", second.event_hash) is None, "the end")
    assert watcher.by_event(first.event_hash).state is BuildState.FAILED


def test_a_job_deleted_before_its_end_is_cancelled_and_forgotten(builds, jobs, watch, heard):
    watcher = watch()
    name = builds.create().job_name
    wait_until(lambda: "running" in heard.states(name), "the Job to run")
    jobs.delete_job(name)
    wait_until(lambda: watcher.by_name(name) is None, "the Job to be gone")
    wait_until(lambda: heard.of(name)[-1] == ("gone", "cancelled"), "the news")
    assert heard[-1].ended
    assert heard[-1].record.finished_at is not None


def test_a_job_deleted_after_its_end_is_gone_as_what_it_was(cluster, builds, jobs, watch, heard):
    watcher = watch()
    name = builds.create().job_name
    wait_until(lambda: watcher.by_name(name), "the Job")
    cluster.finish_job(name)
    jobs.delete_job(name)
    wait_until(lambda: heard.of(name)[-1] == ("gone", "succeeded"), "the news")
    assert [change.ended for change in heard].count(True) == 1


def test_an_expired_watch_is_followed_by_a_new_list(cluster, builds, watch, heard):
    watcher = watch()
    wait_until(lambda: watcher.following, "the watch")
    cluster.clear_requests()
    cluster.add_fault(Fault("expire_watch", resource="jobs", times=1))
    name = builds.create().job_name
    wait_until(lambda: "running" in heard.states(name), "the Job to run")
    verbs = [r.verb for r in cluster.requests() if r.resource == "jobs" and r.verb != "create"]
    assert verbs[0] == "list"
    assert heard.of(name)[0][0] == "appeared"


def test_what_an_outage_hides_is_told_after_it(cluster, builds, jobs, watch, heard):
    watcher = watch()
    done, deleted, kept = (builds.create(f"id-{n}").job_name for n in range(3))
    wait_until(lambda: watcher.active_count == 3, "the Jobs")
    wait_until(lambda: "running" in heard.states(kept), "the last Job to run")
    cluster.outage()
    wait_until(lambda: not watcher.following, "the watch to break")
    cluster.finish_job(done)
    cluster.restore()
    jobs.delete_job(deleted)
    new = builds.create("id-new").job_name
    wait_until(lambda: heard.states(done)[-1] == "succeeded", "the end")
    wait_until(lambda: heard.of(deleted)[-1] == ("gone", "cancelled"), "the deletion")
    wait_until(lambda: watcher.by_name(new), "the new Job")
    assert heard.states(done).count("succeeded") == 1


def test_a_deletion_during_the_interruption_is_found_by_the_list(
    cluster, builds, jobs, watch, heard
):
    watcher = watch()
    name = builds.create().job_name
    wait_until(lambda: watcher.by_name(name), "the Job")
    # The watch cannot come back before a list, and every list fails until the Job is gone.
    cluster.add_fault(Fault("status", verb="list", resource="jobs", status=500))
    cluster.add_fault(Fault("expire_watch", resource="jobs", times=1))
    jobs.delete_job(name)
    other = builds.create("id-2").job_name
    wait_until(lambda: not watcher.following, "the watch to be given up")
    cluster.clear_faults()
    wait_until(lambda: watcher.by_name(other), "the list")
    wait_until(lambda: heard.of(name)[-1] == ("gone", "cancelled"), "the deletion")


def test_a_job_made_anew_under_its_name_is_another_job(builds, jobs, watch, heard, cluster):
    watcher = watch()
    name = builds.create("a").job_name
    wait_until(lambda: "running" in heard.states(name), "the Job to run")
    first = watcher.by_name(name).uid
    cluster.add_fault(Fault("status", verb="list", resource="jobs", status=500))
    cluster.add_fault(Fault("expire_watch", resource="jobs", times=1))
    wait_until(lambda: not watcher.following, "the watch to be given up")
    jobs.delete_job(name)
    builds.create("a")
    cluster.clear_faults()
    wait_until(lambda: watcher.by_name(name).uid != first, "the other Job")
    wait_until(lambda: heard.states(name)[-1] == "running", "the other Job to run")
    kinds = [kind for kind, _ in heard.of(name)]
    assert kinds.count("appeared") == 2
    assert kinds.count("gone") == 1
    assert watcher.active_count == 1


def test_changes_that_are_shown_again_do_not_bring_back_a_job_that_was_deleted(client):
    watcher = JobWatcher(client, NAMESPACE)
    told = []
    watcher.listen(lambda change: told.append((change.kind, change.record.uid)))

    def job(uid):
        return {
            "metadata": {"name": "build-a", "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"}
        }

    for _ in range(2):
        watcher.event("ADDED", job("old"))
        watcher.event("DELETED", job("old"))
        watcher.event("ADDED", job("new"))
    assert told == [("appeared", "old"), ("gone", "old"), ("appeared", "new")]


@pytest.mark.parametrize("kind", ["cut", "cut_after", "status"])
def test_requests_that_fail_are_repeated_until_they_work(cluster, builds, watch, kind):
    fault = {"resource": "jobs", "status": 503} if kind == "status" else {"resource": "jobs"}
    cluster.add_fault(Fault(kind, verb="list", times=2, **fault))
    cluster.add_fault(Fault(kind, verb="watch", times=2, **fault))
    name = builds.create().job_name
    watcher = watch()
    wait_until(lambda: watcher.following, "the watch")
    assert watcher.by_name(name)


def test_a_list_that_expires_between_pages_begins_again(cluster, client, builds):
    for number in range(6):
        builds.create(f"id-{number}")
    expired = Fault("status", verb="list", resource="jobs", status=410, times=1)
    told = []

    def expire_once(change):
        if not told:
            cluster.add_fault(expired)
        told.append(change.kind)

    watcher = JobWatcher(client, NAMESPACE)
    watcher.page_size = 2
    watcher.listen(expire_once)
    watcher.start()
    wait_until(lambda: watcher.synced, "the list")
    assert watcher.stop(5) == []
    assert told.count("appeared") == watcher.active_count == 6
    lists = [r.status for r in cluster.requests() if r.verb == "list"]
    assert lists == [200, 410, 200, 200, 200]


def test_an_api_that_refuses_connections_is_not_stormed(cluster, client, watch, monkeypatch):
    watcher = watch()
    wait_until(lambda: watcher.following, "the watch")
    attempts, stream = [], client.stream

    def counted(*args, **kwargs):  # sees also what never reaches the cluster
        attempts.append(time.monotonic())
        return stream(*args, **kwargs)

    monkeypatch.setattr(client, "stream", counted)
    cluster.outage()
    wait_until(lambda: len(attempts) >= 4, "some attempts", timeout=20)
    gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert all(gap > 0.1 for gap in gaps)
    assert gaps[-1] > gaps[0]


def test_nothing_is_asked_while_the_api_is_known_to_be_away(cluster, watch):
    back, asked = threading.Event(), []
    watcher = watch(available=lambda: asked.append(None) or back.is_set())
    wait_until(lambda: watcher.following, "the watch")
    cluster.outage()
    wait_until(lambda: not watcher.following, "the watch to break")
    cluster.restore()
    cluster.clear_requests()
    wait_until(lambda: len(asked) > 5, "the watch to be held")
    assert cluster.requests() == []
    back.set()
    wait_until(lambda: watcher.following, "the watch")


def test_a_watch_that_goes_silent_is_given_up_and_nothing_is_missed(cluster, builds, watch, heard):
    cluster.add_fault(Fault("hang", verb="watch", resource="jobs", times=1))
    watcher = watch(silence_seconds=0.5)
    wait_until(lambda: watcher.synced, "the list")
    name = builds.create().job_name
    wait_until(lambda: "running" in heard.states(name), "the Job to run")
    assert watcher.following


def test_a_watch_that_ends_by_its_time_goes_on_without_a_list(cluster, builds, watch, heard):
    watcher = watch(watch_seconds=1)
    wait_until(lambda: watcher.following, "the watch")
    watches = lambda: [r for r in cluster.requests() if r.verb == "watch"]  # noqa: E731
    wait_until(lambda: len(watches()) >= 3, "the watch to be renewed")
    name = builds.create().job_name
    wait_until(lambda: "running" in heard.states(name), "the Job to run")
    assert [r.verb for r in cluster.requests()].count("list") == 1


def test_stopping_ends_a_watch_that_waits_at_once(watch):
    watcher = watch()
    wait_until(lambda: watcher.following, "the watch")
    began = time.monotonic()
    assert watcher.stop(5) == []
    assert watcher.stop(5) == []
    assert time.monotonic() - began < 1


def test_a_watch_that_is_refused_again_and_again_gives_way_to_a_list(cluster, watch, monkeypatch):
    monkeypatch.setattr(reflector, "_LONGEST_BACKOFF_SECONDS", 0.05)
    cluster.add_fault(Fault("status", verb="watch", resource="jobs", status=504, times=5))
    watcher = watch()
    wait_until(lambda: watcher.following, "the watch")
    verbs = [r.verb for r in cluster.requests() if r.resource == "jobs"]
    assert verbs == ["list", *["watch"] * 5, "list", "watch"]


def test_a_request_that_hangs_holds_up_a_stop_no_longer_than_its_timeout(cluster, connect):
    cluster.add_fault(Fault("hang", verb="list", resource="jobs"))
    watcher = JobWatcher(connect(timeout_seconds=1), NAMESPACE)
    watcher.start()
    wait_until(lambda: cluster.requests(), "the request to hang")
    assert watcher.stop(0) == ["job-watcher"]
    assert watcher.stop(3) == []


def test_stopping_before_the_start_is_harmless(client):
    watcher = JobWatcher(client, NAMESPACE)
    assert watcher.stop(1) == []
    watcher.start()
    assert watcher.stop(1) == []


def test_a_listener_that_fails_does_not_end_the_watch(client, builds, watch, heard):
    watcher = watch()
    watcher._listeners.insert(0, lambda change: 1 / 0)
    wait_until(lambda: watcher.following, "the watch")
    name = builds.create().job_name
    wait_until(lambda: "running" in heard.states(name), "the Job to run")


def test_records_give_the_whole_build_while_something_may_be_told(builds, watch):
    request = builds.create(traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
    watcher = watch()
    wait_until(lambda: watcher.synced, "the list")
    result = watcher.by_name(request.job_name).result()
    assert result.namespace == "knative-lambda"
    assert result.image.endswith(request.event_hash[:10])
    for field in ("event_id", "event_source", "event_hash", "correlation_id", "traceparent"):
        assert getattr(result.request, field) == getattr(request, field)


@quick_jobs
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.soak)])
def test_many_jobs_are_followed_to_their_ends(watch, heard, builds, count):
    watcher = watch()
    names = sorted(builds.create(f"id-{number}").job_name for number in range(count))
    wait_until(lambda: sum(change.ended for change in heard) >= count, "all to end", timeout=60)
    assert sorted(change.record.name for change in heard if change.ended) == names
    assert sorted(record.name for record in watcher.records()) == names
    assert watcher.active_count == 0
