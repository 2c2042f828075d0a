"""Why builds fail, in one word, as their Jobs play it: found, noted on the Job, counted once."""

from __future__ import annotations

from functools import partial

import pytest

from lambda_builder.devcluster import Fault
from lambda_builder.kube.labels import FAILURE_CATEGORY, IMAGE_DIGEST
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings
from tests.waiting import wait_until

from .conftest import quick_jobs
from .test_tracker import Replica

PUSH_REFUSED = (
    "error pushing image: failed to push to destination registry.example/app:1: POST "
    "https://registry.example/v2/app/blobs/uploads/: UNAUTHORIZED: authentication required"
)
CASES = {
    "dockerfile": Fault("fail", exit_code=1),
    "out_of_memory": Fault("fail", exit_code=137, reason="OOMKilled"),
    "registry_auth": Fault("fail", exit_code=1, message=PUSH_REFUSED),
    "disk": Fault("evict"),
    "unknown": Fault("fail", exit_code=3, message="it did not work", container="build"),
}


class HurriedBuilds:
    """Makes Jobs that have no more than two seconds."""

    def __init__(self, jobs):
        self._jobs = jobs

    def create_job(self, request):
        manifest = JobTemplate.from_settings(Settings()).render(request)
        manifest["spec"]["activeDeadlineSeconds"] = 2
        return self._jobs.create_job(manifest)


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


def counted(replica):
    """Return the failures counted so far, those at zero left out."""
    (family,) = (
        family for family in replica.metrics.registry.collect() if family.name == "build_failures"
    )
    values = {s.labels["category"]: s.value for s in family.samples if s.name.endswith("_total")}
    assert len(values) == 13
    return {category: value for category, value in values.items() if value}


def has_counted(replica, expected):
    return counted(replica) == expected


def has_state(replica, request, state):
    return replica.state(request) == state


def annotations_of(cluster, request):
    return cluster.job(request.job_name)["metadata"]["annotations"]


def category(replica, request):
    return replica.result(request).to_dict()["failure_category"]


@quick_jobs
@pytest.mark.parametrize("expected", CASES)
def test_a_failure_has_its_category_in_the_result_the_count_and_on_the_job(
    cluster, builds, replica, expected
):
    cluster.add_fault(CASES[expected])
    request = replica.create(builds)
    wait_until(lambda: category(replica, request), "the category")
    assert category(replica, request) == expected
    assert counted(replica) == {expected: 1}
    wait_until(
        lambda: annotations_of(cluster, request).get(FAILURE_CATEGORY) == expected, "the note"
    )


@quick_jobs
def test_the_node_that_needs_its_room_back_evicts_where_the_template_does_not_replace_the_pod(
    cluster, builds, replica
):
    message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. "
    cluster.add_fault(Fault("evict", message=message, reason="TerminationByKubelet", times=1))
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "succeeded", "the replacement")
    assert counted(replica) == {}


def test_a_job_whose_pods_a_quota_refuses_is_created_and_says_quota(cluster, builds, replica):
    message = 'pods "x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=9, limited'
    cluster.add_fault(Fault("refuse_pods", message=message))
    request = replica.create(builds)
    wait_until(lambda: category(replica, request) == "quota", "the category")
    assert replica.state(request) == "created"
    assert counted(replica) == {}


def test_a_job_that_never_ran_before_its_deadline_has_the_category_of_what_kept_it(
    cluster, jobs, replica
):
    cluster.add_fault(Fault("image_pull"))
    request = replica.create(HurriedBuilds(jobs))
    wait_until(lambda: category(replica, request) == "image_pull", "the trouble")
    wait_until(lambda: counted(replica) == {"image_pull": 1}, "the end")
    result = replica.result(request)
    assert (result.state, result.error.code) == ("failed", "deadline_exceeded")
    assert "it did not run: " in result.error.message
    assert replica.finished("timeout") == 1


def test_the_digest_of_what_was_pushed_is_in_the_result_and_on_the_job(cluster, builds, replica):
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    cluster.finish_job(request.job_name)
    wait_until(lambda: replica.result(request).image_digest, "the digest")
    digest = replica.result(request).image_digest
    assert len(digest) == len("sha256:") + 64
    wait_until(lambda: annotations_of(cluster, request).get(IMAGE_DIGEST) == digest, "the note")


def test_another_replica_knows_category_and_digest_from_the_job_after_its_pods_are_gone(
    cluster, builds, new_replica, replica, client
):
    failing, good = replica.create(builds, "id-1"), replica.create(builds, "id-2")
    for request in (failing, good):
        wait_until(partial(has_state, replica, request, "running"), "the builds to run")
    cluster.finish_job(failing.job_name, succeeded=False, exit_code=137, reason="OOMKilled")
    cluster.finish_job(good.job_name)
    wait_until(lambda: FAILURE_CATEGORY in annotations_of(cluster, failing), "the category's note")
    wait_until(lambda: IMAGE_DIGEST in annotations_of(cluster, good), "the digest's note")
    for pod in client.request("list_pods", "GET", "/api/v1/namespaces/knative-lambda/pods")[
        "items"
    ]:
        path = f"/api/v1/namespaces/knative-lambda/pods/{pod['metadata']['name']}"
        client.request("delete_pod", "DELETE", path)
    other = new_replica()
    assert other.watcher.by_name(failing.job_name).error.category == "out_of_memory"
    assert other.watcher.by_name(good.job_name).image_digest.startswith("sha256:")
    assert counted(other) == {}, "it failed before that replica was there"


def test_every_replica_counts_each_failure_once(cluster, builds, new_replica, replica):
    other = new_replica()
    requests = [replica.create(builds, f"id-{number}") for number in range(5)]
    for request in requests:
        wait_until(partial(has_state, replica, request, "running"), "the builds to run")
        cluster.finish_job(request.job_name, succeeded=False, exit_code=1)
    for each in (replica, other):
        wait_until(partial(has_counted, each, {"dockerfile": 5}), "all to be counted")
        assert each.finished("failed") == 5


def test_a_failure_that_nothing_is_known_of_is_counted_as_unknown_though_its_job_goes(
    cluster, builds, jobs, replica
):
    request = replica.create(builds)
    wait_until(lambda: replica.state(request) == "running", "the build to run")
    cluster.add_fault(Fault("status", resource="pods", status=403))
    cluster.finish_job(request.job_name, succeeded=False, exit_code=1)
    wait_until(lambda: counted(replica) == {"unknown": 1}, "the count")
    assert FAILURE_CATEGORY not in annotations_of(cluster, request)
    jobs.delete_job(request.job_name)
    wait_until(lambda: cluster.job(request.job_name) is None, "the Job to go")
    assert counted(replica) == {"unknown": 1}


def lists_of_pods(cluster):
    return [r for r in cluster.requests() if (r.verb, r.resource) == ("list", "pods")]


def test_the_digests_of_many_jobs_that_end_together_take_few_calls(cluster, builds, new_replica):
    replica = new_replica(start=False)
    replica.watcher.start()
    wait_until(lambda: replica.watcher.following, "the watch")
    requests = [replica.create(builds, f"id-{number}") for number in range(20)]
    wait_until(lambda: all(has_state(replica, r, "running") for r in requests), "the pods")
    for request in requests:
        cluster.finish_job(request.job_name)
    wait_until(lambda: all(has_state(replica, r, "succeeded") for r in requests), "the ends")
    cluster.clear_requests()
    replica.diagnosis.start()
    wait_until(lambda: all(replica.result(r).image_digest for r in requests), "the digests")
    wait_until(
        lambda: all(IMAGE_DIGEST in annotations_of(cluster, r) for r in requests), "the notes"
    )
    assert len(lists_of_pods(cluster)) == 1
    assert len({replica.result(r).image_digest for r in requests}) == len(requests)
