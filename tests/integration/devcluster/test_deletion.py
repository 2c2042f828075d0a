"""Deleting: pods take their time, Jobs wait for them, and a pod that was taken away has failed."""

from __future__ import annotations

import json
import time

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from lambda_builder.devcluster import DevCluster, Fault

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"
PODS = "/api/v1/namespaces/knative-lambda/pods"
MERGE = "application/merge-patch+json"
TRACKED = ["batch.kubernetes.io/job-tracking"]


@pytest.fixture
def pods(api):
    def read(job: str = "build-a"):
        return api("GET", f"{PODS}?labelSelector=job-name%3D{job}").json["items"]

    return read


@pytest.fixture
def running(api, pods, new_job, wait_until):
    """Create a Job that runs for long, and return its pod."""

    def run(name: str = "build-a", **spec):
        api("POST", JOBS, new_job(name, **spec))
        return wait_until(
            lambda: [pod for pod in pods(name) if pod["status"]["phase"] == "Running"]
        )[0]

    return run


@pytest.fixture
def cluster():
    with DevCluster(run_seconds=60, pending_seconds=0.02, deletion_seconds=0.1) as made:
        yield made


def _evict(api, name: str, query: str = ""):
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return api("POST", f"{PODS}/{name}/eviction{query}", body)


def test_a_job_deleted_in_the_background_goes_at_once_and_its_pod_a_little_later(
    api, cluster, pods, running, wait_until
):
    running()
    cluster.add_fault(Fault("stuck_pods"))
    assert api("DELETE", f"{JOBS}/build-a?propagationPolicy=Background").status == 200
    assert cluster.job("build-a") is None
    (ending,) = pods()
    assert ending["metadata"]["deletionTimestamp"]
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
    assert ending["metadata"]["finalizers"] == TRACKED
    cluster.clear_faults()
    wait_until(lambda: not pods())


def test_a_job_deleted_in_the_foreground_lingers_until_its_last_pod_is_gone(
    api, cluster, pods, running, new_job, wait_until
):
    running()
    assert api("POST", "/devcluster/faults", {"kind": "stuck_pods"}).status == 201
    api("DELETE", f"{JOBS}/build-a?propagationPolicy=Foreground")
    wait_until(lambda: pods()[0]["metadata"].get("deletionTimestamp"))
    lingering = cluster.job("build-a")["metadata"]
    assert lingering["finalizers"] == ["foregroundDeletion"]
    refused = api("POST", JOBS, new_job())
    assert refused.json["message"] == (
        'object is being deleted: jobs.batch "build-a" already exists'
    )
    api("DELETE", "/devcluster/faults")
    wait_until(lambda: cluster.job("build-a") is None)
    assert pods() == []


def test_a_pod_that_has_ended_is_tracked_no_more_and_goes_at_once(api, cluster, pods, running):
    running()
    cluster.finish_job("build-a")
    (ended,) = pods()
    assert "finalizers" not in ended["metadata"]
    api("DELETE", f"{JOBS}/build-a?propagationPolicy=Background")
    assert pods() == []


def test_a_pod_deleted_without_grace_is_gone_at_once(api, pods, running):
    name = running(backoffLimit=1)["metadata"]["name"]
    answer = api("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
    assert answer.json["metadata"]["name"] == name
    assert name not in [pod["metadata"]["name"] for pod in pods()]


def test_a_pod_taken_from_a_job_without_retries_fails_it(
    api, cluster, running, wait_until, condition_of
):
    name = running()["metadata"]["name"]
    cluster.add_fault(Fault("stuck_pods", name_prefix="build-a"))
    api("DELETE", f"{PODS}/{name}")
    assert cluster.job("build-a")["status"]["terminating"] == 1
    cluster.clear_faults()
    wait_until(lambda: condition_of("build-a") == "Failed BackoffLimitExceeded")
    assert cluster.job("build-a")["status"]["failed"] == 1


def test_a_pod_taken_from_a_job_with_retries_is_replaced_and_counted(
    api, cluster, pods, running, wait_until
):
    name = running(backoffLimit=1)["metadata"]["name"]
    api("DELETE", f"{PODS}/{name}")
    wait_until(lambda: [pod for pod in pods() if pod["metadata"]["name"] != name])
    assert cluster.job("build-a")["status"]["failed"] == 1


def test_an_evicted_pod_is_marked_and_a_policy_that_ignores_disruptions_does_not_count_it(
    api, cluster, pods, running, kubernetes, wait_until
):
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    name = running(podFailurePolicy={"rules": rules})["metadata"]["name"]
    assert cluster.job("build-a")["spec"]["podReplacementPolicy"] == "Failed"
    cluster.add_fault(Fault("stuck_pods"))
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=name))
    client.CoreV1Api(kubernetes).create_namespaced_pod_eviction(name, "knative-lambda", eviction)
    marks = [c for c in pods()[0]["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert [(c["reason"], c["status"]) for c in marks] == [("EvictionByEvictionAPI", "True")]
    cluster.clear_faults()
    wait_until(lambda: [pod for pod in pods() if pod["metadata"]["name"] != name])
    assert "failed" not in cluster.job("build-a")["status"]


def test_a_disruption_budget_refuses_an_eviction_with_a_status_of_too_many_requests(
    api, cluster, pods, running, kubernetes
):
    name = running()["metadata"]["name"]
    cluster.add_fault(Fault("refuse_eviction", name_prefix="build-a", retry_after=10))
    with pytest.raises(ApiException) as refused:
        client.CoreV1Api(kubernetes).create_namespaced_pod_eviction(
            name, "knative-lambda", client.V1Eviction(metadata=client.V1ObjectMeta(name=name))
        )
    status = json.loads(refused.value.body)
    assert (refused.value.status, status["reason"]) == (429, "TooManyRequests")
    assert status["message"] == (
        "Cannot evict pod as it would violate the pod's disruption budget."
    )
    assert status["details"]["causes"][0]["reason"] == "DisruptionBudget"
    assert refused.value.headers["Retry-After"] == "10"
    assert "deletionTimestamp" not in pods()[0]["metadata"]
    cluster.clear_faults()
    assert _evict(api, name).status == 201


def test_no_budget_keeps_a_pod_that_does_not_run(api, cluster, pods, running):
    name = running()["metadata"]["name"]
    cluster.finish_job("build-a")
    cluster.add_fault(Fault("refuse_eviction"))
    assert _evict(api, name).json["status"] == "Success"
    assert pods() == []


def test_an_eviction_that_is_only_tried_or_of_another_name_takes_no_pod(api, pods, running):
    name = running()["metadata"]["name"]
    assert _evict(api, name, "?dryRun=All").status == 201
    other = {"metadata": {"name": "other"}}
    assert api("POST", f"{PODS}/{name}/eviction", other).status == 400
    assert _evict(api, "absent").status == 404
    assert api("GET", f"{PODS}/{name}/eviction").status == 405
    assert "deletionTimestamp" not in pods()[0]["metadata"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", {}, {"metadata": []}, {"metadata": None}, {"deleteOptions": 7}]
)
def test_an_eviction_that_cannot_be_read_is_a_bad_request(api, running, body):
    name = running()["metadata"]["name"]
    assert api("POST", f"{PODS}/{name}/eviction", body).status == 400


def test_a_grace_period_that_cannot_be_read_is_a_bad_request(api, running):
    name = running()["metadata"]["name"]
    for grace in ("soon", [], {}):
        assert api("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": grace}).status == 400


def test_a_finished_job_goes_in_the_foreground_after_its_ttl(
    api, cluster, connect, running, wait_until
):
    start = api("GET", JOBS).json["metadata"]["resourceVersion"]
    running(ttlSecondsAfterFinished=1)
    stream = connect(cluster).stream(f"{JOBS}?watch=1&resourceVersion={start}")
    finished = time.time()
    cluster.finish_job("build-a")
    wait_until(lambda: cluster.job("build-a") is None)
    assert time.time() - finished >= 1
    seen = [json.loads(stream.readline())]
    while seen[-1]["type"] != "DELETED":
        seen.append(json.loads(stream.readline()))
    lingering = [e["object"]["metadata"] for e in seen if e["type"] == "MODIFIED"]
    assert any(m.get("finalizers") == ["foregroundDeletion"] for m in lingering)


@pytest.mark.parametrize("before", [None, 3600])
def test_a_ttl_that_is_set_or_shortened_after_the_end_is_obeyed(
    api, cluster, running, wait_until, before
):
    running(**({} if before is None else {"ttlSecondsAfterFinished": before}))
    cluster.finish_job("build-a")
    change = {"spec": {"ttlSecondsAfterFinished": 0}}
    assert api("PATCH", f"{JOBS}/build-a", change, MERGE).status == 200
    wait_until(lambda: cluster.job("build-a") is None)


@pytest.mark.parametrize("ttl", [None, 3600])
def test_a_ttl_that_is_taken_off_or_put_off_after_the_end_is_obeyed(
    api, cluster, running, wait_until, ttl
):
    running(ttlSecondsAfterFinished=2)
    running("build-b", ttlSecondsAfterFinished=2)
    cluster.finish_job("build-a")
    cluster.finish_job("build-b")
    change = {"spec": {"ttlSecondsAfterFinished": ttl}}
    assert api("PATCH", f"{JOBS}/build-a", change, MERGE).status == 200
    wait_until(lambda: cluster.job("build-b") is None)
    assert cluster.job("build-a")["metadata"].get("deletionTimestamp") is None
