"""Watches and leases: what clients that follow the cluster and each other rely on."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from lambda_builder.devcluster import DevCluster, Fault

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/knative-lambda/leases"
MERGE = "application/merge-patch+json"


def _events(stream, until):
    seen = []
    for line in stream:
        event = json.loads(line)
        seen.append(event)
        if until(event):
            return seen
    return seen


def test_the_clients_watch_sees_a_job_through_to_its_end(batch, new_job):
    start = batch.list_namespaced_job("knative-lambda").metadata.resource_version
    batch.create_namespaced_job("knative-lambda", new_job())
    types = []
    for event in watch.Watch().stream(
        batch.list_namespaced_job, "knative-lambda", resource_version=start, timeout_seconds=10
    ):
        types.append(event["type"])
        if event["object"].status.succeeded:
            break
    assert types[0] == "ADDED"
    assert set(types[1:]) == {"MODIFIED"}


def test_a_watch_without_a_revision_begins_with_what_is_there(connect, cluster, new_job):
    api = connect(cluster)
    cluster.pause_kubelet()
    for name in ("one", "two"):
        api("POST", JOBS, new_job(name))
    stream = connect(cluster).stream(f"{JOBS}?watch=true")
    names = [json.loads(stream.readline())["object"]["metadata"]["name"] for _ in range(2)]
    assert names == ["one", "two"]


def test_a_watch_goes_on_exactly_after_its_revision(connect, cluster, new_job):
    api = connect(cluster)
    cluster.pause_kubelet()
    first = api("POST", JOBS, new_job("one")).json["metadata"]["resourceVersion"]
    api("POST", JOBS, new_job("two"))
    stream = connect(cluster).stream(f"{JOBS}?watch=1&resourceVersion={first}")
    api("DELETE", f"{JOBS}/one?propagationPolicy=Background")
    seen = [json.loads(stream.readline()) for _ in range(2)]
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in seen] == [
        ("ADDED", "two"),
        ("DELETED", "one"),
    ]


def test_a_selecting_watch_sees_objects_come_and_go_as_their_labels_change(
    connect, cluster, new_job
):
    api = connect(cluster)
    cluster.pause_kubelet()
    start = api("GET", JOBS).json["metadata"]["resourceVersion"]
    stream = connect(cluster).stream(
        f"{JOBS}?watch=1&resourceVersion={start}&labelSelector=tier%3Da"
    )
    api("POST", JOBS, new_job("other"))
    api("POST", JOBS, new_job("one"))
    for labels in ({"tier": "a"}, {"x": "y"}, {"tier": "b"}, {"z": "z"}):
        api("PATCH", f"{JOBS}/one", {"metadata": {"labels": labels}}, MERGE)
    api("POST", JOBS, new_job("last", labels={"tier": "a"}))
    seen = [json.loads(stream.readline()) for _ in range(4)]
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in seen] == [
        ("ADDED", "one"),
        ("MODIFIED", "one"),
        ("DELETED", "one"),
        ("ADDED", "last"),
    ]


def test_bookmarks_tell_the_revision_reached(connect, cluster):
    stream = connect(cluster).stream(f"{JOBS}?watch=1&allowWatchBookmarks=true")
    event = json.loads(stream.readline())
    assert event["type"] == "BOOKMARK"
    assert event["object"]["kind"] == "Job"
    assert int(event["object"]["metadata"]["resourceVersion"]) > 0


def test_a_watch_ends_after_the_time_it_asked_for(connect, cluster):
    assert connect(cluster).stream(f"{JOBS}?watch=1&timeoutSeconds=1").read() == b""


def test_a_revision_from_before_the_history_is_told_as_410(connect, new_job):
    with DevCluster(history=20) as cluster:
        api = connect(cluster)
        cluster.pause_kubelet()
        first = api("POST", JOBS, new_job("first")).json["metadata"]["resourceVersion"]
        for number in range(40):
            api("POST", JOBS, new_job(f"job-{number}"))
        event = json.loads(
            connect(cluster).stream(f"{JOBS}?watch=1&resourceVersion={first}").readline()
        )
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


def test_a_watch_can_be_refused_with_410_before_it_begins(connect, cluster):
    cluster.add_fault(Fault("status", verb="watch", status=410, times=1))
    answer = connect(cluster)("GET", f"{JOBS}?watch=1")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")


def test_the_last_bookmark_comes_shortly_before_a_watch_ends(connect):
    with DevCluster(bookmark_seconds=60) as cluster:
        query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=1"
        lines = connect(cluster).stream(f"{JOBS}?{query}").read().splitlines()
        assert [json.loads(line)["type"] for line in lines] == ["BOOKMARK"]


def test_open_and_new_watches_can_be_made_to_expire(connect, cluster):
    stream = connect(cluster).stream(f"{JOBS}?watch=1")
    cluster.add_fault(Fault("expire_watch", resource="jobs", times=2))
    assert json.loads(stream.read())["object"]["code"] == 410
    again = connect(cluster).stream(f"{JOBS}?watch=1")
    assert json.loads(again.read())["object"]["code"] == 410
    third = connect(cluster).stream(f"{JOBS}?watch=1&allowWatchBookmarks=1")
    assert json.loads(third.readline())["type"] == "BOOKMARK"


def test_a_revision_of_the_future_is_refused(api):
    answer = api("GET", f"{JOBS}?watch=1&resourceVersion=99999999999999999")
    assert answer.status == 504
    assert "Too large resource version" in answer.json["message"]


def test_an_outage_cuts_watches(connect, cluster):
    stream = connect(cluster).stream(f"{JOBS}?watch=1")
    cluster.outage()
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        stream.read()
    cluster.restore()


def test_pods_and_events_can_be_watched(connect, cluster, new_job):
    pods = connect(cluster).stream("/api/v1/namespaces/knative-lambda/pods?watch=1")
    events = connect(cluster).stream(
        "/api/v1/namespaces/knative-lambda/events?watch=1&fieldSelector=reason%3DCompleted"
    )
    connect(cluster)("POST", JOBS, new_job())
    phases = [
        event["object"]["status"]["phase"]
        for event in _events(pods, lambda e: e["object"]["status"]["phase"] == "Succeeded")
    ]
    assert phases == ["Pending", "Running", "Succeeded"]
    told = json.loads(events.readline())["object"]
    assert told["involvedObject"]["name"] == "build-a"


def test_a_lease_is_taken_renewed_and_lost_by_revision(kubernetes):
    leases = client.CoordinationV1Api(kubernetes)
    body: Any = {"metadata": {"name": "sender"}, "spec": {"holderIdentity": "a"}}
    mine = leases.create_namespaced_lease("knative-lambda", body)
    mine.spec.holder_identity = "a2"
    theirs = leases.read_namespaced_lease("sender", "knative-lambda")
    leases.replace_namespaced_lease("sender", "knative-lambda", mine)
    theirs.spec.holder_identity = "b"
    with pytest.raises(ApiException) as lost:
        leases.replace_namespaced_lease("sender", "knative-lambda", theirs)
    assert lost.value.status == 409
    assert json.loads(lost.value.body)["message"] == (
        'Operation cannot be fulfilled on leases.coordination.k8s.io "sender": the object has '
        "been modified; please apply your changes to the latest version and try again"
    )
    assert leases.read_namespaced_lease("sender", "knative-lambda").spec.holder_identity == "a2"
    leases.delete_namespaced_lease("sender", "knative-lambda")
    assert leases.list_namespaced_lease("knative-lambda").items == []


def test_a_lease_is_patched_and_wrong_types_in_it_are_refused(api):
    api("POST", LEASES, {"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 5}})
    patched = api("PATCH", f"{LEASES}/l", {"spec": {"holderIdentity": "x"}}, MERGE)
    assert patched.json["spec"] == {"leaseDurationSeconds": 5, "holderIdentity": "x"}
    answer = api("PATCH", f"{LEASES}/l", {"spec": {"leaseDurationSeconds": "5"}}, MERGE)
    assert answer.status == 400
