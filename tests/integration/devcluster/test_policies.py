"""Quotas and admission webhooks: what refuses Jobs and pods that are valid, in the real words."""

from __future__ import annotations

import json

import pytest

from lambda_builder.devcluster import DevCluster, Fault

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"
PODS = "/api/v1/namespaces/knative-lambda/pods"
EVENTS = "/api/v1/namespaces/knative-lambda/events"
QUOTAS = "/api/v1/namespaces/knative-lambda/resourcequotas"
MERGE = "application/merge-patch+json"


@pytest.fixture
def set_quota(api):
    """Make a quota of the given bounds, or change them."""

    def put(name: str = "builds", **hard: int | str):
        bounds = {key.replace("__", "/").replace("_", "."): most for key, most in hard.items()}
        spec = {"spec": {"hard": bounds}}
        if api("GET", f"{QUOTAS}/{name}").status == 200:
            return api("PATCH", f"{QUOTAS}/{name}", spec, MERGE)
        return api("POST", QUOTAS, {"metadata": {"name": name}, **spec})

    return put


@pytest.fixture
def status_of(api):
    def read(name: str = "builds"):
        return api("GET", f"{QUOTAS}/{name}").json["status"]

    return read


def _failed_create(api):
    """The only FailedCreate event; None while there is none."""
    items = api("GET", f"{EVENTS}?fieldSelector=reason%3DFailedCreate").json["items"]
    return items[0] if items else None


def test_a_job_beyond_a_quota_is_forbidden_and_says_what_is_used(
    api, cluster, set_quota, status_of, new_job
):
    cluster.pause_kubelet()
    assert set_quota(count__jobs_batch="5").status == 201
    for number in range(5):
        assert api("POST", JOBS, new_job(f"build-{number}")).status == 201
    answer = api("POST", JOBS, new_job("x"))
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert answer.json["message"] == (
        'jobs.batch "x" is forbidden: exceeded quota: builds, requested: count/jobs.batch=1, '
        "used: count/jobs.batch=5, limited: count/jobs.batch=5"
    )
    assert answer.json["details"] == {"name": "x", "group": "batch", "kind": "jobs"}
    assert status_of() == {"hard": {"count/jobs.batch": "5"}, "used": {"count/jobs.batch": "5"}}


def test_room_comes_back_when_a_job_goes_or_the_quota_grows(
    api, cluster, set_quota, status_of, new_job
):
    cluster.pause_kubelet()
    set_quota(count__jobs_batch=1)
    api("POST", JOBS, new_job("one"))
    assert api("POST", JOBS, new_job("two")).status == 403
    api("DELETE", f"{JOBS}/one?propagationPolicy=Background")
    assert status_of()["used"] == {"count/jobs.batch": "0"}
    assert api("POST", JOBS, new_job("two")).status == 201
    assert set_quota(count__jobs_batch=2).status == 200
    assert api("POST", JOBS, new_job("three")).status == 201
    api("DELETE", f"{QUOTAS}/builds")
    assert api("POST", JOBS, new_job("four")).status == 201


def test_a_quota_counts_what_was_there_before_it(api, set_quota, status_of, new_job):
    api("POST", JOBS, new_job())
    set_quota(count__jobs_batch=1)
    assert status_of()["used"] == {"count/jobs.batch": "1"}
    assert api("POST", JOBS, new_job("late")).status == 403


def test_every_quota_of_a_namespace_is_asked_and_those_of_others_are_not(api, set_quota, new_job):
    set_quota("wide", count__jobs_batch=9)
    set_quota("zero", count__jobs_batch=0)
    assert "exceeded quota: zero" in api("POST", JOBS, new_job()).json["message"]
    assert api("POST", "/apis/batch/v1/namespaces/default/jobs", new_job()).status == 201


def test_a_dry_run_is_refused_but_uses_nothing_up(api, set_quota, status_of, new_job):
    set_quota(count__jobs_batch=1)
    assert api("POST", f"{JOBS}?dryRun=All", new_job()).status == 201
    assert status_of()["used"] == {"count/jobs.batch": "0"}
    api("POST", JOBS, new_job())
    assert api("POST", f"{JOBS}?dryRun=All", new_job("other")).status == 403


def test_an_invalid_job_is_told_so_before_any_quota(api, set_quota, new_job):
    set_quota(count__jobs_batch=0)
    assert api("POST", JOBS, new_job("Upper")).status == 422


def test_a_quota_that_cannot_be_read_is_a_bad_request(api, set_quota):
    set_quota(count__jobs_batch=1)
    for part in ({"spec": 7}, {"spec": {"hard": {"pods": "many"}}}, {"status": "full"}):
        assert api("PATCH", f"{QUOTAS}/builds", part, MERGE).status == 400
        assert api("POST", QUOTAS, {"metadata": {"name": "other"}, **part}).status == 400


def test_a_quota_without_bounds_bounds_nothing_and_its_status_is_the_clusters(
    api, set_quota, status_of, new_job
):
    set_quota(count__jobs_batch=0)
    wrong = {"status": {"used": {"count/jobs.batch": "-7"}}}
    assert api("PATCH", f"{QUOTAS}/builds/status", wrong, MERGE).status == 200
    assert status_of()["used"] == {"count/jobs.batch": "0"}
    assert api("POST", JOBS, new_job()).status == 403
    assert api("PATCH", f"{QUOTAS}/builds", {"spec": None}, MERGE).status == 200
    assert status_of() == {"hard": {}, "used": {}}
    assert api("POST", JOBS, new_job()).status == 201


def test_a_watch_of_quotas_sees_what_is_used(api, cluster, connect, set_quota, new_job):
    cluster.pause_kubelet()
    start = set_quota(count__jobs_batch=3).json["metadata"]["resourceVersion"]
    stream = connect(cluster).stream(f"{QUOTAS}?watch=1&resourceVersion={start}")
    api("POST", JOBS, new_job())
    used = [json.loads(stream.readline())["object"]["status"]["used"] for _ in range(2)]
    assert used == [{"count/jobs.batch": "0"}, {"count/jobs.batch": "1"}]


def test_a_quota_on_pods_leaves_a_job_without_a_pod_and_an_event_says_why(
    api, cluster, set_quota, status_of, new_job, wait_until
):
    set_quota(pods=0)
    assert api("POST", JOBS, new_job()).status == 201
    event = wait_until(lambda: _failed_create(api))
    name = event["message"].split('"')[1]
    assert name.startswith("build-a-")
    assert event["message"] == (
        f'Error creating: pods "{name}" is forbidden: exceeded quota: builds, requested: pods=1, '
        "used: pods=0, limited: pods=0"
    )
    assert (event["type"], event["involvedObject"]["name"]) == ("Warning", "build-a")
    assert api("GET", PODS).json["items"] == []
    assert "active" not in cluster.job("build-a")["status"]
    set_quota(pods=1)
    wait_until(lambda: cluster.job("build-a")["status"].get("succeeded"))
    assert status_of()["used"] == {"pods": "0"}


def test_pods_that_have_ended_leave_room_in_a_quota_on_pods_alone(
    api, cluster, set_quota, status_of, new_job, wait_until
):
    set_quota(pods=1, count__pods=1)
    api("POST", JOBS, new_job("one"))
    wait_until(lambda: cluster.job("one")["status"].get("succeeded"))
    assert status_of()["used"] == {"pods": "0", "count/pods": "1"}
    api("POST", JOBS, new_job("two"))
    message = wait_until(lambda: _failed_create(api))["message"]
    assert message.endswith("requested: count/pods=1, used: count/pods=1, limited: count/pods=1")
    api("DELETE", f"{JOBS}/one?propagationPolicy=Background")
    wait_until(lambda: cluster.job("two")["status"].get("succeeded"))


def test_the_quota_of_the_command_line_is_one_like_any_other(connect, new_job):
    with DevCluster(job_quota=1) as cluster:
        api = connect(cluster)
        api("POST", JOBS, new_job())
        assert api("GET", f"{QUOTAS}/devcluster").json["status"]["used"] == {
            "count/jobs.batch": "1"
        }
        api("DELETE", f"{QUOTAS}/devcluster")
        assert api("POST", JOBS, new_job("two")).status == 201


def test_a_webhook_denies_a_job_in_the_words_of_the_api(api, cluster, new_job):
    cluster.add_fault(
        Fault("deny", resource="jobs", webhook="images.example.org", message="no such registry")
    )
    for query in ("", "?dryRun=All"):
        answer = api("POST", f"{JOBS}{query}", new_job())
        assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
        assert answer.json["message"] == (
            'admission webhook "images.example.org" denied the request: no such registry'
        )
    assert cluster.jobs() == []
    assert api("POST", JOBS, new_job("Upper")).status == 422


def test_a_webhook_denies_with_the_status_it_likes(api, cluster, new_job):
    cluster.add_fault(Fault("deny", verb="create", status=400, times=1))
    answer = api("POST", JOBS, new_job())
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    assert api("POST", JOBS, new_job()).status == 201


def test_a_webhook_that_cannot_be_asked_is_an_internal_error(api, cluster, new_job):
    cluster.add_fault(Fault("webhook_error", webhook="images.example.org", message="no endpoints"))
    answer = api("POST", JOBS, new_job())
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    words = 'failed calling webhook "images.example.org": no endpoints'
    assert answer.json["message"] == f"Internal error occurred: {words}"
    assert answer.json["details"]["causes"] == [{"message": words}]


def test_webhooks_are_asked_for_changes_and_only_for_what_they_are_of(api, cluster, new_job):
    cluster.add_fault(Fault("deny", verb="update", resource="jobs", name_prefix="held"))
    for name, status in (("held", 403), ("free", 200)):
        assert api("POST", JOBS, new_job(name)).status == 201
        change = {"metadata": {"labels": {"a": "b"}}}
        assert api("PATCH", f"{JOBS}/{name}", change, MERGE).status == status


def test_a_webhook_that_denies_pods_leaves_the_job_without_one(api, cluster, new_job, wait_until):
    assert api("POST", "/devcluster/faults", {"kind": "deny", "resource": "pods"}).status == 201
    api("POST", JOBS, new_job())
    assert wait_until(lambda: _failed_create(api))["message"] == (
        'Error creating: admission webhook "policy.devcluster.example" denied the request: '
        "not allowed by devcluster"
    )
    api("DELETE", "/devcluster/faults")
    wait_until(lambda: cluster.job("build-a")["status"].get("succeeded"))
