"""The main job under the real gunicorn: events in, Jobs out, overload told, probes answered."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

CURLS = """
for i in {{1..10}}; do
  curl -sS -X POST {url}/events \
    -H "Ce-Type: network.notifi.lambda.build.start" \
    -H "Ce-Source: network.notifi.customer-$i" \
    -d "{{\\"parser_id\\":\\"parser-$i\\"}}" -w '\\n%{{http_code}} %{{time_total}}\\n' &
done; wait
"""


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(
    shared_cluster: ClusterProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """A service that other tests have sent events to."""
    folder = tmp_path_factory.mktemp("service")
    with ServiceProcess(shared_cluster.kubeconfig, folder) as running:
        yield running


def jobs_of(cluster: ClusterProcess, event_id: str) -> list[dict[str, Any]]:
    name = "build.notifi.network/event-id"
    return [job for job in cluster.jobs() if job["metadata"]["annotations"][name] == event_id]


def test_the_documented_commands_answer_at_once_and_their_jobs_appear(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    script = CURLS.format(url=service.url)
    output = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    lines = output.stdout.split("\n")
    answers = [json.loads(line) for line in lines if line.startswith("{")]
    codes = [line.split()[0] for line in lines if line.startswith("200 ")]
    assert len(answers) == len(codes) == 10
    names = {answer["job_name"] for answer in answers}
    assert all(name.startswith("build-customer-") for name in names)
    wait_until(lambda: len(cluster.jobs()) == 10, "ten Jobs")
    assert {job["metadata"]["name"] for job in cluster.jobs()} == names
    wait_until(lambda: service.stats()["created_total"] == 10, "ten outcomes")


def test_knative_gets_an_empty_answer_and_others_a_body(shared: ServiceProcess) -> None:
    knative = shared.post("a", headers={"Prefer": "reply"})
    assert (knative.status_code, knative.content) == (202, b"")
    assert knative.headers["X-Job-Name"].startswith("build-customer-parser-a-")
    assert knative.headers["Location"] == f"/async-jobs/{knative.headers['X-Job-Name']}"
    assert not [name for name in knative.headers if name.lower().startswith("ce-")]
    other = shared.post("b")
    assert other.status_code == 200
    assert other.json()["result_url"] == other.headers["Location"]
    assert shared.get(other.headers["Location"]).json()["job_name"] == other.json()["job_name"]


def test_a_hanging_api_fills_the_queue_and_the_rest_is_told_so(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    cluster.add_fault("hang", verb="create", resource="jobs")
    session = threading.local()

    def send(number: int) -> requests.Response:
        if not hasattr(session, "http"):
            session.http = requests.Session()
        return service.post(number, session=session.http)

    with ThreadPoolExecutor(16) as senders:
        answers = list(senders.map(send, range(150)))
        healthy = service.get("/health")
    assert (healthy.status_code, healthy.text) == (200, "ok")
    accepted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert 100 <= len(accepted) <= 105
    assert len(accepted) + len(refused) == 150
    for answer in refused:
        assert answer.json()["code"] == "queue_full"
        assert answer.json()["detail"].startswith("job queue full, please retry later")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
    stats = service.stats()
    assert stats["queue_size"] >= 95
    assert stats["worker_count"] == 5
    cluster.clear_faults()
    wait_until(
        lambda: len(cluster.jobs()) == len(accepted), "every accepted build's Job", timeout=30
    )
    assert set(cluster.jobs_per_event().values()) == {1}


def test_the_counts_add_up_at_every_instant_under_load(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    cluster.add_fault("latency", verb="create", resource="jobs", seconds=0.01)
    done = threading.Event()
    looks: list[int] = []

    def look() -> None:
        while not done.is_set():
            looks.append(service.stats()["accepted_total"])

    with ThreadPoolExecutor(10) as pool:
        looking = pool.submit(look)
        list(pool.map(service.post, range(200)))
        wait_until(lambda: service.stats()["queue_size"] == 0, "the queue to drain", 30)
        done.set()
        looking.result()
    assert len(looks) > 5
    assert looks == sorted(looks)


def test_a_null_parser_id_is_told_by_name_and_harms_nothing(shared: ServiceProcess) -> None:
    before = shared.stats()["rejected_total"]
    answer = shared.post("x", parser_id=None)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "parser_id"
    assert shared.post("y").status_code == 200
    assert shared.stats()["rejected_total"] == before + 1


def test_an_event_delivered_again_gets_the_same_answer_and_no_second_job(
    shared_cluster: ClusterProcess, shared: ServiceProcess
) -> None:
    before = shared.stats()["duplicates_total"]
    first = shared.post("same")
    wait_until(lambda: len(jobs_of(shared_cluster, "same")) == 1, "the Job")
    again = shared.post("same")
    assert again.status_code == 200
    assert again.json()["status"] == "duplicate"
    assert again.json()["job_name"] == first.json()["job_name"]
    assert again.json()["state"] in ("created", "running", "succeeded")
    assert shared.stats()["duplicates_total"] == before + 1
    assert len(jobs_of(shared_cluster, "same")) == 1


def test_metrics_exist_at_zero_from_the_start_and_agree_with_the_stats(
    service: ServiceProcess,
) -> None:
    text = service.get("/metrics").text
    for line in (
        "async_job_queue_depth 0.0",
        "async_job_queue_capacity 100.0",
        "async_job_queue_full_total 0.0",
        "async_worker_panics_total 0.0",
        'async_worker_errors_total{reason="timeout"} 0.0',
        'async_jobs_total{outcome="dead"} 0.0',
        'cloudevents_rejected_total{code="queue_full"} 0.0',
        "async_job_processing_duration_seconds_count 0.0",
        "async_worker_count 5.0",
        "kubernetes_api_available 1.0",
    ):
        assert f"\n{line}\n" in text, line
    service.post("a")
    wait_until(lambda: service.stats()["created_total"] == 1, "the build")
    assert '\nasync_jobs_total{outcome="created"} 1.0\n' in service.get("/metrics").text


def test_each_change_of_state_is_one_json_line_that_names_the_build(
    shared: ServiceProcess,
) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    name = shared.post("logged", headers={"traceparent": traceparent}).json()["job_name"]

    def told() -> list[dict[str, Any]]:
        changes = [line for line in shared.log_lines() if line["event"] == "build_state"]
        return [line for line in changes if name == line["job_name"]]

    wait_until(lambda: "created" in [line["state"] for line in told()], "the build")
    assert {line["state"] for line in told()} >= {"queued", "creating", "created"}
    for line in told():
        assert line["correlation_id"] == "logged"
        assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_kubectl_sees_the_jobs_by_their_labels(
    shared_cluster: ClusterProcess, shared: ServiceProcess
) -> None:
    shared.post("labelled", third_party_id="Acme Corp!", correlation_id="c-1")
    wait_until(lambda: len(jobs_of(shared_cluster, "labelled")) == 1, "the Job")
    [job] = jobs_of(shared_cluster, "labelled")
    labels, annotations = job["metadata"]["labels"], job["metadata"]["annotations"]
    assert labels["app.kubernetes.io/managed-by"] == "lambda-builder"
    assert labels["build.notifi.network/third-party-id"] == "Acme-Corp"
    assert len(labels["build.notifi.network/event-hash"]) == 32
    assert annotations["build.notifi.network/third-party-id"] == "Acme Corp!"
    assert annotations["build.notifi.network/correlation-id"] == "c-1"
