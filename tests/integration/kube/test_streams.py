"""Answers that are read while they come: watches and followed logs."""

from __future__ import annotations

import json
import threading
import time
from contextlib import closing

import pytest

from lambda_builder.devcluster import DevCluster
from lambda_builder.errors import FailureReason, Unreachable
from lambda_builder.kube.errors import NotFound
from tests.waiting import wait_until

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"


@pytest.fixture
def cluster():
    with DevCluster(run_seconds=60, pending_seconds=0) as running:
        yield running


def watch(client, read_timeout=30.0):
    return client.stream("watch_jobs", JOBS, {"watch": True}, read_timeout=read_timeout)


def running_pod(jobs, pods, manifest) -> str:
    job = jobs.create_job(manifest())
    wait_until(
        lambda: [
            pod for pod in pods.pods_of(job.name) if pod.get("status", {}).get("phase") == "Running"
        ],
        "the pod to run",
    )
    return pods.pods_of(job.name)[0]["metadata"]["name"]


def test_a_watch_gives_whole_lines_as_they_come(client, jobs, manifest):
    with closing(watch(client)) as stream:
        jobs.create_job(manifest())
        event = json.loads(next(stream.lines())[0])
    assert event["type"] == "ADDED"
    assert event["object"]["metadata"]["name"] == manifest()["metadata"]["name"]


def test_closing_from_another_thread_ends_a_read_that_blocks(client):
    stream, lines = watch(client), []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        lines.extend(stream.lines())

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait(5)
    started = time.monotonic()
    stream.close()
    reader.join(5)
    assert not reader.is_alive()
    assert time.monotonic() - started < 2
    assert lines == []


def test_closing_twice_or_after_the_end_is_harmless(client):
    stream = watch(client)
    stream.close()
    stream.close()
    assert list(stream.lines()) == []
    with closing(client.stream("list_jobs", JOBS, read_timeout=5)) as whole:
        assert json.loads(b"".join(whole.chunks()))["kind"] == "JobList"
    whole.close()


def test_silence_beyond_the_read_timeout_is_unreachable(client):
    with closing(watch(client, read_timeout=0.2)) as stream, pytest.raises(Unreachable) as caught:
        list(stream.lines())
    assert caught.value.reason is FailureReason.TIMEOUT


def test_an_api_that_goes_away_ends_the_stream_with_an_error(cluster, client):
    with closing(watch(client)) as stream:
        cluster.outage()
        with pytest.raises(Unreachable) as caught:
            list(stream.lines())
    assert caught.value.reason is FailureReason.CONNECTION


def test_a_followed_log_ends_with_its_container(cluster, jobs, pods, manifest):
    pod = running_pod(jobs, pods, manifest)
    with closing(pods.stream_log(pod, "build", follow=True)) as stream:
        chunks = stream.chunks()
        first = next(chunks)
        cluster.finish_job(manifest()["metadata"]["name"])
        rest = b"".join(chunks)
    whole = (first + rest).decode()
    assert whole.splitlines()
    assert pods.read_log(pod, "build", tail_lines=1).strip() == whole.splitlines()[-1]


def test_a_log_of_no_pod_is_not_found(pods):
    with pytest.raises(NotFound):
        pods.stream_log("nobody", "build", follow=True)


def test_streams_leave_no_connection_behind(client):
    for _ in range(30):
        watch(client).close()
    assert client.probe()
