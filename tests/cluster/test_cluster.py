"""The service against a cluster, end to end; see docs/testing.rst."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.credentials import load_configuration
from lambda_builder.kube.watcher import JobWatcher
from tests.chart.rendering import DEPLOYMENT, ChartEngine, Values
from tests.cluster.conftest import Site
from tests.cluster.target import KubeObject
from tests.http_sink import HttpSink
from tests.processes import ServiceProcess

LONG = "600"
SHORT = "5"
Replicas = tuple[ServiceProcess, ServiceProcess]


def post(service: ServiceProcess, *, runtime: str = LONG, **data: Any) -> str:
    """Send an event that nobody sent before; return its Job's name."""
    answer = service.post(secrets.token_hex(6), runtime=runtime, **data)
    assert answer.status_code == 200, answer.text
    name: str = answer.json()["job_name"]
    return name


def build(service: ServiceProcess, name: str) -> dict[str, Any]:
    found: dict[str, Any] = service.get(f"/async-jobs/{name}").json()
    return found


def wait_for(site: Site, service: ServiceProcess, name: str, *states: str) -> dict[str, Any]:
    site.wait_until(
        lambda: build(service, name).get("state") in states, f"{name} to be {' or '.join(states)}"
    )
    return build(service, name)


def error_of(service: ServiceProcess, name: str) -> dict[str, Any]:
    error: dict[str, Any] = build(service, name)["error"] or {}
    return error


# -- Jobs and their pods ---------------------------------------------------------------------------


def test_an_event_becomes_a_job_with_its_labels(site: Site, service: ServiceProcess) -> None:
    name = post(service, third_party_id="Acme Corp!")
    found = wait_for(site, service, name, "created", "running")
    [job] = site.jobs()
    assert (job["metadata"]["name"], job["metadata"]["uid"]) == (name, found["job_uid"])
    assert job["metadata"]["labels"]["build.notifi.network/third-party-id"].startswith("Acme")
    assert job["metadata"]["annotations"]["build.notifi.network/third-party-id"] == "Acme Corp!"
    assert found["namespace"] == site.builds


@pytest.mark.usefixtures("needs_pods")
def test_a_build_runs_to_its_end_and_its_log_is_followed_so_far(
    site: Site, service: ServiceProcess
) -> None:
    name = post(service, runtime=SHORT)
    wait_for(site, service, name, "running", "succeeded")
    with service.get(f"/async-jobs/{name}/logs?follow=true", stream=True) as answer:
        chunks = answer.iter_content(None)
        assert next(chunks)
        site.target.let_end(site.builds, name)
        for _ in chunks:
            pass
    found = wait_for(site, service, name, "succeeded")
    assert found["accepted_at"] <= found["created_at"] <= found["started_at"]
    assert found["started_at"] <= found["finished_at"]


def test_events_delivered_to_both_replicas_make_one_job_each(
    site: Site, replicas: Replicas
) -> None:
    events = [secrets.token_hex(6) for _ in range(10)]

    def deliver(number: int) -> str:
        event, service = events[number % 10], replicas[number // 10 % 2]
        answer = service.post(event, runtime=LONG)
        assert answer.status_code == 200
        name: str = answer.json()["job_name"]
        return name

    with ThreadPoolExecutor(8) as senders:
        names = set(senders.map(deliver, range(40)))
    assert len(names) == 10
    for service in replicas:
        site.wait_until(lambda s=service: s.stats()["queue_size"] == 0, "the queue")
        assert service.stats()["dead_total"] == 0
    site.wait_until(lambda: {job["metadata"]["name"] for job in site.jobs()} == names, "the Jobs")


@pytest.mark.usefixtures("needs_pods")
def test_a_cancelled_build_leaves_neither_job_nor_pods(site: Site, service: ServiceProcess) -> None:
    name = post(service)
    wait_for(site, service, name, "running")
    assert len(site.pods()) == 1
    answer = service.delete(f"/async-jobs/{name}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    site.wait_until(lambda: not site.jobs(), "the Job to go")
    site.wait_until(lambda: not site.pods(), "its pod to go")


@pytest.mark.usefixtures("needs_pods")
def test_a_finished_job_goes_after_its_ttl_and_its_build_is_still_known(
    site: Site, service: ServiceProcess
) -> None:
    name = post(service, runtime=SHORT)
    wait_for(site, service, name, "running")
    patch = {"spec": {"ttlSecondsAfterFinished": 1}}
    site.target.call("PATCH", f"{site.jobs_path}/{name}", patch).raise_for_status()
    site.target.let_end(site.builds, name)
    wait_for(site, service, name, "succeeded")
    site.wait_until(lambda: not site.jobs(), "the Job to go")
    assert build(service, name)["state"] == "succeeded"


# -- what the cluster refuses ----------------------------------------------------------------------


@contextmanager
def quota(site: Site, jobs: int) -> Iterator[None]:
    path = f"/api/v1/namespaces/{site.builds}/resourcequotas"
    body = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/jobs.batch": str(jobs)}},
    }
    site.target.call("POST", path, body).raise_for_status()
    site.wait_until(
        lambda: (site.target.get(f"{path}/few").get("status") or {}).get("hard"), "the quota"
    )
    try:
        yield
    finally:
        site.target.call("DELETE", f"{path}/few").raise_for_status()


def test_builds_beyond_a_quota_wait_and_cost_no_attempt(
    site: Site, service: ServiceProcess
) -> None:
    dead = service.stats()["dead_total"]
    with quota(site, 2):
        names = [post(service) for _ in range(4)]

        def blocked() -> list[str]:
            return [n for n in names if error_of(service, n).get("code") == "quota_exceeded"]

        site.wait_until(lambda: len(site.jobs()) == 2 and blocked(), "the quota to be met")
        [made, *_] = [name for name in names if build(service, name)["job_uid"]]
        assert service.delete(f"/async-jobs/{made}").status_code == 200
        site.wait_until(lambda: sum(_has_job(service, name) for name in names) == 3, "a third")
    site.wait_until(lambda: sum(_has_job(service, name) for name in names) == 4, "the last")
    assert service.stats()["dead_total"] == dead


def _has_job(service: ServiceProcess, name: str) -> bool:
    return build(service, name)["job_uid"] is not None


@pytest.mark.differs("there is no pod security admission, and namespaces cannot be changed")
def test_pods_that_the_pod_security_level_refuses_are_named_in_the_build(
    site: Site, service: ServiceProcess
) -> None:
    label = "pod-security.kubernetes.io/enforce"
    path = f"/api/v1/namespaces/{site.builds}"

    def enforce(level: str) -> None:
        patch = {"metadata": {"labels": {label: level}}}
        site.target.call("PATCH", path, patch).raise_for_status()

    enforce("restricted")
    try:
        name = post(service)
        site.wait_until(
            lambda: "violates PodSecurity" in str(error_of(service, name).get("message")),
            "the refusal to be seen",
        )
        assert service.delete(f"/async-jobs/{name}").status_code == 200
    finally:
        enforce("baseline")


@pytest.mark.usefixtures("needs_pods")
def test_an_image_that_cannot_be_pulled_is_named_in_the_build(
    site: Site, service: ServiceProcess
) -> None:
    image = "registry.invalid/no/such:image"
    with site.target.unpullable("build-unpullable-"):
        name = post(service, third_party_id="unpullable", image=image)
        site.wait_until(
            lambda: "ImagePull" in str(error_of(service, name)), "the failed pull to be seen"
        )
        assert service.delete(f"/async-jobs/{name}").status_code == 200


# -- the API goes away, and changes ----------------------------------------------------------------


def test_builds_and_watch_go_on_over_a_restart_of_the_api_server(
    site: Site, replicas: Replicas
) -> None:
    service, other = replicas
    before = post(service)
    wait_for(site, service, before, "created", "running")
    with site.target.restarting():
        during = [post(service) for _ in range(3)]
    for name in during:
        wait_for(site, service, name, "created", "running")
    # Another replica knows of them by its watch, and of one that goes as well.
    for name in (before, during[0]):
        site.target.call("DELETE", f"{site.jobs_path}/{name}", propagationPolicy="Background")
        wait_for(site, service, name, "cancelled")
    wait_for(site, other, during[1], "created", "running")


def test_a_watch_from_a_revision_that_is_gone_begins_again_with_a_list(
    site: Site, replicas: Replicas
) -> None:
    client = KubeClient(
        lambda: load_configuration(pool_size=2, environ={"KUBECONFIG": str(site.kubeconfig)}),
        timeout_seconds=10,
    )
    watcher = JobWatcher(client, site.builds)
    watcher._version = "1"
    watcher.start()
    try:
        site.wait_until(lambda: watcher.synced, "a list")
        name = post(replicas[0])
        site.wait_until(lambda: watcher.by_name(name), "the watch to show a Job")
    finally:
        watcher.stop(10)
        client.close()


# -- two replicas ----------------------------------------------------------------------------------


def test_the_next_leader_tells_of_what_became_of_builds(
    site: Site, replicas: Replicas, sink: HttpSink
) -> None:
    site.wait_until(lambda: any(map(leads, replicas)), "a leader")
    leader, other = sorted(replicas, key=leads, reverse=True)
    name = post(leader)
    wait_for(site, other, name, "created", "running")
    leader.terminate(60)
    assert "cancelled" not in news(sink, name)
    site.target.call("DELETE", f"{site.jobs_path}/{name}", propagationPolicy="Background")
    site.wait_until(lambda: "cancelled" in news(sink, name), "its end to be told")
    assert leads(other)
    leader.start()


def leads(service: ServiceProcess) -> bool:
    changes = [each for each in service.log_lines() if each["event"].startswith("leadership_")]
    return bool(changes) and changes[-1]["event"] == "leadership_gained"


def news(sink: HttpSink, name: str) -> list[str]:
    """Return what was told of a build, in the order it came."""
    return [
        headers["ce-type"].rsplit(".", 1)[1]
        for headers, _ in list(sink.events)
        if headers.get("ce-subject") == name
    ]


# -- the chart -------------------------------------------------------------------------------------

_VALUES: dict[str, Values] = {
    "knative": {},
    "statefulset": {**DEPLOYMENT, "grafanaDashboard": {"enabled": True}},
    "deployment": {
        **DEPLOYMENT,
        "journal": {"storage": "emptyDir"},
        "autoscaling": {"enabled": True},
        "triggers": {"enabled": True},
    },
}


@pytest.mark.differs("it serves what the service needs alone, and applies nothing")
@pytest.mark.parametrize("values", _VALUES.values(), ids=_VALUES)
def test_the_api_server_takes_every_object_of_the_chart(
    site: Site, engine: ChartEngine, values: Values
) -> None:
    own = {**values, "build": {"namespace": site.builds}}
    refused, unserved = [], []
    for found in engine.objects(own, site.system):
        answer = site.target.apply(found, dry_run=True)
        if answer is None:
            unserved.append(found)
        elif not answer.ok:
            refused.append(f"{found['kind']} {found['metadata']['name']}: {answer.text[:500]}")
    assert refused == []
    foreign = {_group(found) for found in unserved}
    assert foreign <= {"serving.knative.dev", "eventing.knative.dev", "sources.knative.dev"}


def _group(found: KubeObject) -> str:
    return str(found["apiVersion"]).split("/", maxsplit=1)[0]


@pytest.mark.differs("there is no RBAC, and no service account to run as")
def test_the_service_has_the_rights_of_its_service_account_and_no_others(site: Site) -> None:
    assert site.has_token
    client = KubeClient(
        lambda: load_configuration(pool_size=1, environ={"KUBECONFIG": str(site.kubeconfig)}),
        timeout_seconds=10,
    )
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": site.builds},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    rules = client.request("review", "POST", path, body=review)["status"]["resourceRules"]
    client.close()
    allowed = {
        (verb, resource)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if "authorization.k8s.io" not in rule["apiGroups"]
        and "authentication.k8s.io" not in rule["apiGroups"]
    }
    assert ("create", "jobs") in allowed
    assert not {"secrets", "configmaps", "pods/exec", "*"} & {resource for _, resource in allowed}
    assert not {verb for verb, resource in allowed if resource == "pods"} - {"list"}


@pytest.mark.differs("its namespaces stay")
def test_a_namespace_goes_with_the_jobs_in_it(site: Site) -> None:
    name = f"{site.system}-going"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    site.target.call("POST", "/api/v1/namespaces", body).raise_for_status()
    site.target.call("DELETE", f"/api/v1/namespaces/{name}").raise_for_status()
    site.wait_until(
        lambda: site.target.call("GET", f"/api/v1/namespaces/{name}").status_code == 404,
        "the namespace to go",
    )
