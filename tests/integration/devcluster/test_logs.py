"""Logs of simulated builds: read, tailed, followed."""

from __future__ import annotations

import pytest
from kubernetes.client.exceptions import ApiException

from lambda_builder.devcluster import DevCluster, Fault

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"
PODS = "/api/v1/namespaces/knative-lambda/pods"


@pytest.fixture
def pod_of(api, wait_until):
    """The name of a Job's pod, once its phase is the one wanted."""

    def find(job: str, *phases: str) -> str:
        def look() -> str | None:
            for pod in api("GET", f"{PODS}?labelSelector=job-name%3D{job}").json["items"]:
                if not phases or pod["status"]["phase"] in phases:
                    return pod["metadata"]["name"]
            return None

        return wait_until(look)

    return find


def test_a_followed_log_ends_when_the_build_ends(api, cluster, core, new_job, pod_of):
    api("POST", JOBS, new_job())
    pod = pod_of("build-a", "Running", "Succeeded")
    lines = (
        core.read_namespaced_pod_log(
            pod, "knative-lambda", container="kaniko", follow=True, _preload_content=False
        )
        .read()
        .decode()
        .splitlines()
    )
    assert "simulated" in lines[0]
    assert lines[-1] == "INFO[0012] Pushed image of build-a"
    assert core.read_namespaced_pod_log(pod, "knative-lambda").splitlines() == lines


def test_lines_appear_while_the_build_runs(connect, new_job, wait_until):
    with DevCluster(run_seconds=60, pending_seconds=0) as cluster:
        api = connect(cluster)
        api("POST", JOBS, new_job())
        wait_until(lambda: cluster.job("build-a")["status"].get("ready"))
        pod = api("GET", PODS).json["items"][0]["metadata"]["name"]
        stream = connect(cluster).stream(f"{PODS}/{pod}/log?follow=true")
        assert b"simulated" in stream.readline()
        cluster.finish_job("build-a", succeeded=False, exit_code=9)
        assert stream.read().endswith(b"exit status 9\n")


def test_a_log_can_be_tailed_and_limited(api, new_job, pod_of):
    api("POST", JOBS, new_job())
    pod = pod_of("build-a", "Succeeded")
    tail = api("GET", f"{PODS}/{pod}/log?tailLines=2").body.splitlines()
    assert len(tail) == 2
    assert tail[-1].endswith(b"Pushed image of build-a")
    assert len(api("GET", f"{PODS}/{pod}/log?limitBytes=10").body) == 10


def test_a_failed_build_ends_its_log_with_the_error(api, cluster, new_job, pod_of):
    cluster.add_fault(Fault("fail", exit_code=7))
    api("POST", JOBS, new_job())
    pod = pod_of("build-a", "Failed")
    last = api("GET", f"{PODS}/{pod}/log?tailLines=1").body
    assert last.startswith(b"error building image")
    assert b"exit status 7" in last


def test_logs_that_are_not_there_are_refused_in_words(api, cluster, core, new_job, pod_of):
    cluster.add_fault(Fault("slow_pods", seconds=60))
    api("POST", JOBS, new_job())
    pod = pod_of("build-a")
    with pytest.raises(ApiException) as waiting:
        core.read_namespaced_pod_log(pod, "knative-lambda")
    assert waiting.value.status == 400
    words = f'container \\"kaniko\\" in pod \\"{pod}\\" is waiting to start: ContainerCreating'
    assert words in waiting.value.body
    assert api("GET", f"{PODS}/absent/log").status == 404
    assert api("GET", f"{PODS}/{pod}/log?container=other").status == 400
    assert api("GET", f"{PODS}/{pod}/log?previous=true").status == 400
    assert api("GET", f"{PODS}/{pod}/log?tailLines=-1").status == 400
