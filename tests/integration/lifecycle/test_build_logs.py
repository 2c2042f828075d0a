"""Logs of builds: from before the pod is there to the build's end, whatever is cut in between."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.devcluster import Fault
from lambda_builder.devcluster.podlogs import build_lines
from lambda_builder.errors import LambdaBuilderError, RefusalCode, Refused
from lambda_builder.kube.pods import PodReader, log_containers
from lambda_builder.steering.logs import BuildLogs
from tests.waiting import wait_until

from .conftest import NAMESPACE, quick_jobs, request_for


class Known(dict[str, BuildResult]):
    """What is known of builds, by event hash."""

    def put(self, request, state):
        self[request.event_hash] = BuildResult(request=request, state=state)
        return self[request.event_hash]


@pytest.fixture
def known():
    return Known()


@pytest.fixture
def logs(client, jobs, watch, known):
    watcher = watch()
    made = BuildLogs(
        jobs, PodReader(client, NAMESPACE), watcher, known.get, wait_seconds=5, grace_seconds=0.2
    )
    yield made
    made.shutdown()


class Reading(threading.Thread):
    """Reads a log to its end; counts what it hears while nothing comes."""

    def __init__(self, reader):
        super().__init__()
        self.reader, self.text, self.silences = reader, b"", 0
        self.error = None
        self.start()

    def run(self):
        try:
            for chunk in self.reader:
                self.text += chunk
                self.silences += not chunk
        except LambdaBuilderError as error:
            self.error = error

    def finish(self, timeout=10):
        self.join(timeout)
        assert not self.is_alive()
        return self.text.decode()


FETCHED = "devcluster: this fetch is simulated, nothing is fetched\n"


def whole_log(request):
    """What the three containers of a build write, one after the other."""
    return FETCHED + "".join(f"{line}\n" for line in build_lines(request.job_name))


def refusal(call):
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


@quick_jobs
def test_a_log_is_followed_from_the_queue_to_the_builds_end(builds, logs, known):
    request = request_for("id-1")
    reading = Reading(logs.open(known.put(request, BuildState.QUEUED), follow=True))
    wait_until(lambda: reading.silences, "the reader to hear that nothing comes")
    builds.create("id-1")
    known.put(request, BuildState.CREATED)
    assert reading.finish() == whole_log(request)
    assert reading.error is None


def test_a_log_comes_while_it_is_written(cluster, builds, logs, known):
    request = builds.create()
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    wait_until(lambda: reading.text, "the first lines")
    assert reading.is_alive()
    cluster.finish_job(request.job_name)
    assert reading.finish() == whole_log(request)


def test_the_log_of_a_finished_build_ends_at_once(cluster, builds, logs, known):
    request = builds.create()
    wait_until(lambda: cluster.job(request.job_name)["status"].get("ready"), "the Job to run")
    cluster.finish_job(request.job_name)
    result = known.put(request, BuildState.SUCCEEDED)
    for follow in (True, False):
        assert Reading(logs.open(result, follow=follow)).finish() == whole_log(request)


def test_without_follow_a_running_build_shows_what_there_is(cluster, builds, logs, known):
    request = builds.create()
    wait_until(lambda: cluster.job(request.job_name)["status"].get("ready"), "the Job to run")
    text = Reading(logs.open(known.put(request, BuildState.RUNNING), follow=False)).finish()
    assert text
    assert whole_log(request).startswith(text)


def test_without_follow_a_build_that_waits_has_no_log(logs, known):
    refused = refusal(
        lambda: logs.open(known.put(request_for("id-1"), BuildState.RETRYING), follow=False)
    )
    assert refused.code is RefusalCode.NOT_FOUND
    assert "still waits" in refused.detail


@pytest.mark.parametrize("follow", [True, False])
def test_a_build_whose_job_is_gone_has_no_log(logs, known, follow):
    result = known.put(request_for("id-1"), BuildState.SUCCEEDED)
    assert refusal(lambda: logs.open(result, follow=follow)).code is RefusalCode.NOT_FOUND


@pytest.mark.parametrize("follow", [True, False])
def test_the_job_of_another_event_is_not_shown(builds, logs, known, follow):
    request = builds.create("id-1")
    other = request_for("id-2", job_name=request.job_name)
    result = known.put(other, BuildState.SUCCEEDED)
    assert refusal(lambda: logs.open(result, follow=follow)).code is RefusalCode.NOT_FOUND


def test_without_follow_a_pod_that_has_not_started_has_no_log(cluster, builds, logs, known):
    cluster.add_fault(Fault("image_pull"))
    request = builds.create()
    result = known.put(request, BuildState.CREATED)
    assert refusal(lambda: logs.open(result, follow=False)).code is RefusalCode.NOT_FOUND


def test_a_build_cancelled_in_the_queue_ends_its_log(logs, known):
    request = request_for("id-1")
    reading = Reading(logs.open(known.put(request, BuildState.QUEUED), follow=True))
    known.put(request, BuildState.CANCELLED)
    assert reading.finish() == ""


def test_a_job_deleted_while_its_log_is_followed_ends_it(builds, jobs, logs, known):
    request = builds.create()
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    wait_until(lambda: reading.text, "the first lines")
    jobs.delete_job(request.job_name)
    reading.finish()


def test_a_pod_that_is_evicted_is_followed_by_its_successor(cluster, builds, client, logs, known):
    request = builds.create()
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    wait_until(lambda: reading.text, "the first lines")
    (pod,) = PodReader(client, NAMESPACE).pods_of(request.job_name)
    name = pod["metadata"]["name"]
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    client.request("evict_pod", "POST", path, body={"metadata": {"name": name}})
    wait_until(lambda: reading.text.count(b"INFO[0000] devcluster") == 2, "the other pod's lines")
    cluster.finish_job(request.job_name)
    assert reading.finish().endswith(whole_log(request))


def test_a_log_that_is_cut_goes_on_without_a_gap_or_a_repetition(cluster, builds, logs, known):
    request = builds.create()
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    wait_until(lambda: reading.text, "the first lines")
    cluster.outage()
    cluster.restore()
    wait_until(
        lambda: [r.verb for r in cluster.requests() if r.resource.startswith("pods/log")][1:],
        "the log to be asked for again",
    )
    cluster.finish_job(request.job_name)
    assert reading.finish() == whole_log(request)


def test_a_log_that_may_not_be_read_says_so(cluster, builds, logs, known):
    request = builds.create()
    cluster.add_fault(Fault("status", verb="get", resource="pods/log", status=403))
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    reading.finish()
    assert "403" in str(reading.error)


def test_a_log_that_kubernetes_refuses_is_no_outage(cluster, builds, logs, known):
    request = builds.create()
    wait_until(lambda: cluster.job(request.job_name)["status"].get("ready"), "the Job to run")
    cluster.add_fault(Fault("status", verb="get", resource="pods/log", status=403))
    refused = refusal(lambda: logs.open(known.put(request, BuildState.RUNNING), follow=False))
    assert (refused.code, refused.retry_after) == (RefusalCode.KUBERNETES_REFUSED, None)


def test_an_api_that_is_away_is_told_before_the_log_begins(cluster, builds, logs, known):
    request = builds.create()
    cluster.outage()
    refused = refusal(lambda: logs.open(known.put(request, BuildState.CREATED), follow=True))
    assert refused.code is RefusalCode.KUBERNETES_UNAVAILABLE


def test_waiting_for_a_pod_has_an_end(cluster, builds, client, jobs, watch, known):
    cluster.add_fault(Fault("refuse_pods"))
    request = builds.create()
    logs = BuildLogs(jobs, PodReader(client, NAMESPACE), watch(), known.get, wait_seconds=0.5)
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    assert reading.finish() == ""


def test_a_stream_whose_other_side_is_lost_ends_after_the_build(
    cluster, builds, connect, jobs, watch, known, road
):
    reachable, watcher = PodReader(connect(host=road.host), NAMESPACE), watch()
    logs = BuildLogs(jobs, reachable, watcher, known.get, grace_seconds=0.2)
    request = builds.create()
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    wait_until(lambda: reading.text, "the first lines")
    road.freeze()
    cluster.finish_job(request.job_name)
    assert whole_log(request).startswith(reading.finish())


def test_a_shutdown_ends_every_log_at_once_and_opens_no_more(builds, logs, known):
    running, queued = builds.create("id-1"), request_for("id-2")
    readings = [
        Reading(logs.open(known.put(running, BuildState.CREATED), follow=True)),
        Reading(logs.open(known.put(queued, BuildState.QUEUED), follow=True)),
    ]
    wait_until(lambda: readings[0].text, "the first lines")
    began = time.monotonic()
    logs.shutdown()
    for reading in readings:
        reading.finish()
    assert time.monotonic() - began < 0.5
    refused = refusal(lambda: logs.open(known[running.event_hash], follow=True))
    assert refused.code is RefusalCode.SHUTTING_DOWN


def test_a_reader_that_takes_nothing_can_be_closed(builds, logs, known):
    request = builds.create()
    reader = logs.open(known.put(request, BuildState.CREATED), follow=True)
    assert next(reader)
    reader.close()
    reader.close()
    assert list(reader) == []


def test_the_template_may_name_the_container_that_builds():
    pod: Any = {"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
    assert log_containers(pod) == ["a"]
    pod["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": "b"}
    assert log_containers(pod) == ["b"]


def test_a_log_has_what_fetches_builds_and_pushes_and_no_sidecar():
    def named(*names):
        return [{"name": name} for name in names]

    spec = {
        "initContainers": named("mesh-init", "fetch", "build"),
        "containers": named("mesh-proxy", "push"),
    }
    assert log_containers({"metadata": {}, "spec": spec}) == ["fetch", "build", "push"]


def test_a_build_that_fails_in_an_init_container_shows_its_log_to_the_end(
    cluster, builds, logs, known
):
    cluster.add_fault(Fault("fail", container="build", exit_code=9))
    request = builds.create()
    reading = Reading(logs.open(known.put(request, BuildState.CREATED), follow=True))
    lines = reading.finish().splitlines()
    assert lines[0] == FETCHED.strip()
    assert lines[-1].endswith("exit status 9")
    assert not [line for line in lines if "Pushed" in line]
