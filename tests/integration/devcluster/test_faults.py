"""Faults on demand, from the same process and from another."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time

import pytest

from lambda_builder.devcluster import DevCluster, Fault

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"


def test_a_429_is_plain_text_as_priority_and_fairness_writes_it(api, cluster, new_job):
    cluster.add_fault(Fault("status", verb="create", status=429, times=1, retry_after=7))
    answer = api("POST", JOBS, new_job())
    assert answer.status == 429
    assert answer.body == b"Too many requests, please try again later.\n"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert api("POST", JOBS, new_job()).status == 201


def test_other_statuses_carry_a_status_body(api, cluster, new_job):
    cluster.add_fault(Fault("status", status=500, message="etcdserver: request timed out"))
    answer = api("POST", JOBS, new_job())
    assert answer.status == 500
    assert answer.json["reason"] == "InternalError"
    assert answer.json["message"] == "etcdserver: request timed out"
    assert cluster.jobs() == []


def test_a_status_that_asks_for_patience_says_so_in_body_and_header(api, cluster):
    cluster.add_fault(Fault("status", status=503, retry_after=4))
    answer = api("GET", JOBS)
    assert answer.json["details"] == {"retryAfterSeconds": 4}
    assert answer.headers["retry-after"] == "4"


def test_faults_strike_only_what_they_name(api, cluster, new_job):
    cluster.add_fault(
        Fault("status", verb="create", resource="jobs", name_prefix="bad", status=503)
    )
    assert api("POST", JOBS, new_job("good")).status == 201
    assert api("POST", JOBS, new_job("bad-1")).status == 503
    assert api("GET", JOBS).status == 200


def test_a_cut_connection_leaves_no_job_and_a_cut_after_leaves_one(cluster, connect, new_job):
    for kind, made in (("cut", False), ("cut_after", True)):
        cluster.add_fault(Fault(kind, verb="create", times=1))
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connect(cluster)("POST", JOBS, new_job(kind.replace("_", "-")))
        assert (cluster.job(kind.replace("_", "-")) is not None) == made


def test_hanging_requests_are_held_until_cleared_and_cost_the_others_nothing(
    cluster, connect, new_job, wait_until
):
    cluster.add_fault(Fault("hang", verb="create", name_prefix="hang"))
    ended: list[BaseException] = []

    def hang(number: int) -> None:
        try:
            connect(cluster)("POST", JOBS, new_job(f"hang-{number}"))
        except (http.client.HTTPException, OSError) as exc:
            ended.append(exc)

    threads = [threading.Thread(target=hang, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(cluster.requests()) == 30)
    assert {request.status for request in cluster.requests()} == {0}
    assert connect(cluster)("POST", JOBS, new_job("other")).status == 201
    cluster.clear_faults()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 30
    assert [job["metadata"]["name"] for job in cluster.jobs()] == ["other"]


def test_hang_after_does_the_work_and_never_answers(cluster, new_job, wait_until):
    cluster.add_fault(Fault("hang_after", verb="create"))
    with socket.create_connection(("127.0.0.1", cluster.port)) as connection:
        body = json.dumps(new_job()).encode()
        head = f"POST {JOBS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        wait_until(lambda: cluster.job("build-a"))
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_latency_delays_the_answer_and_other_faults_still_strike(api, cluster, new_job):
    cluster.add_fault(Fault("latency", seconds=0.2, times=1))
    cluster.add_fault(Fault("status", status=503, times=1))
    started = time.monotonic()
    assert api("POST", JOBS, new_job()).status == 503
    assert time.monotonic() - started >= 0.2
    assert api("POST", JOBS, new_job()).status == 201


def test_a_fault_strikes_with_its_probability(api, cluster):
    cluster.add_fault(Fault("status", status=503, probability=0.5))
    statuses = {api("GET", JOBS).status for _ in range(60)}
    assert statuses == {200, 503}


def test_an_unknown_kind_of_fault_is_refused_at_once():
    with pytest.raises(ValueError, match="unknown fault kind"):
        Fault("earthquake")


def test_an_outage_refuses_connections_until_it_is_over(api, cluster, connect, new_job):
    api("POST", JOBS, new_job())
    port = cluster.port
    cluster.outage()
    with pytest.raises(ConnectionRefusedError):
        connect(cluster)("GET", JOBS)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        api("GET", JOBS)
    cluster.restore()
    assert cluster.port == port
    assert len(connect(cluster)("GET", JOBS).json["items"]) == 1


def test_an_outage_asked_for_over_http_ends_by_itself(api, cluster, connect, wait_until):
    assert api("POST", "/devcluster/outage", {"seconds": 0.2}).status == 202

    def reachable() -> bool:
        try:
            return connect(cluster)("GET", "/livez").status == 200
        except (http.client.HTTPException, OSError):
            return False

    wait_until(lambda: not reachable())
    wait_until(reachable)


def test_faults_are_driven_over_http(api, new_job):
    fault = {"kind": "status", "status": 503, "times": 2, "verb": "create"}
    assert api("POST", "/devcluster/faults", fault).status == 201
    assert api("POST", JOBS, new_job()).status == 503
    listed = api("GET", "/devcluster/faults").json
    assert [(entry["kind"], entry["times"]) for entry in listed] == [("status", 1)]
    api("DELETE", "/devcluster/faults")
    assert api("POST", JOBS, new_job()).status == 201


@pytest.mark.parametrize(
    "body",
    [b"{", [7], {}, {"kind": "x"}, {"kind": "hang", "what": 1}, {"kind": "cut", "times": "a"}],
)
def test_a_fault_that_cannot_be_read_is_a_bad_request(api, body):
    assert api("POST", "/devcluster/faults", body).status == 400


def test_requests_are_logged_in_kubernetes_terms(api, cluster, new_job):
    before = time.time()
    api("POST", JOBS, new_job())
    api("GET", JOBS)
    api("GET", f"{JOBS}/absent")
    api("GET", "/version")
    seen = [(r.verb, r.resource, r.name, r.status) for r in cluster.requests()]
    assert seen == [
        ("create", "jobs", "build-a", 201),
        ("list", "jobs", None, 200),
        ("get", "jobs", "absent", 404),
        ("get", "version", None, 200),
    ]
    assert before <= cluster.requests()[0].time <= time.time()
    assert [r["verb"] for r in api("GET", "/devcluster/requests").json] == [r[0] for r in seen]
    api("DELETE", "/devcluster/requests")
    assert cluster.requests() == []


def test_jobs_are_counted_and_ended_over_http(api, cluster, new_job):
    cluster.pause_kubelet()
    for name in ("one", "two", "three"):
        api("POST", JOBS, new_job(name))
    assert api("POST", "/devcluster/jobs/one/finish").status == 200
    ended = {"succeeded": False, "exit_code": 2}
    assert api("POST", "/devcluster/jobs/two/finish", ended).status == 200
    assert api("POST", "/devcluster/jobs/two/finish", ended).status == 404
    summary = api("GET", "/devcluster/jobs-summary").json
    assert (summary["total"], summary["succeeded"], summary["failed"]) == (3, 1, 1)
    assert summary["pending"] == 1


def test_a_cluster_stops_while_requests_hang_and_stopping_twice_is_harmless(connect):
    cluster = DevCluster().start()
    cluster.add_fault(Fault("hang"))
    with socket.create_connection(("127.0.0.1", cluster.port)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        stoppers = [threading.Thread(target=cluster.stop) for _ in range(4)]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join(10)
        cluster.stop()
    assert cluster.jobs() == []
    DevCluster().stop()


def test_a_dry_run_is_told_apart_from_a_creation(api, cluster, new_job):
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=500))
    assert api("POST", f"{JOBS}?dryRun=All", new_job()).status == 201
    assert [(r.verb, r.status) for r in cluster.requests()] == [("dry-run", 201)]
    cluster.add_fault(Fault("status", verb="dry-run", resource="jobs", status=403, message="no"))
    assert api("POST", f"{JOBS}?dryRun=All", new_job()).status == 403
