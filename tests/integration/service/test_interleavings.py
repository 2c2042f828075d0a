"""Moments that meet: what is asked at the same time, or while something else goes wrong."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog

from lambda_builder.builds import BuildRequest, BuildState
from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import SqliteJournal
from lambda_builder.kube.lease import Leadership
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.runner import BuildRunner
from lambda_builder.pipeline.takeover import TakeOver
from lambda_builder.telemetry import logs
from tests.http_sink import HttpSink
from tests.integration.service.conftest import BUILT, TYPE, Running
from tests.waiting import wait_until

Start = Callable[..., Running]
JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"
FOREIGN = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "build-nightly", "namespace": "knative-lambda"},
    "spec": {
        "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
        }
    },
}


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    running = HttpSink()
    yield running
    running.close()


def send(running: Running, event_id: str, **data: Any) -> Any:
    """Deliver an event with a client of its own, for threads."""
    return running.app.test_client().post(
        "/events",
        json={"parser_id": "p", **data},
        headers={"Ce-Id": event_id, "Ce-Source": "s", "Ce-Type": TYPE},
    )


def send_batch(running: Running, ids: str) -> Any:
    events = [
        {"specversion": "1.0", "id": i, "source": "s", "type": TYPE, "data": {"parser_id": "p"}}
        for i in ids
    ]
    return running.app.test_client().post(
        "/events", json=events, content_type="application/cloudevents-batch+json"
    )


def refuse_jobs(cluster: DevCluster) -> None:
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))


# -- whose Job it is -----------------------------------------------------------------------------


def test_a_job_of_somebody_else_is_neither_shown_nor_deleted_nor_sent_again(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    running.service._client.request("test", "POST", JOBS, body=FOREIGN)
    assert running.http.get("/async-jobs/build-nightly").status_code == 404
    assert running.http.delete("/async-jobs/build-nightly").status_code == 404
    running.http.post(
        "/events",
        json={"job_name": "build-nightly"},
        headers={"Ce-Type": "network.notifi.lambda.build.cancel"},
    )
    cluster.finish_job("build-nightly", succeeded=False)
    assert running.http.post("/async-jobs/build-nightly/retry").status_code == 404
    assert send(running, "after").status_code == 200
    running.wait_for("after", *BUILT)
    assert cluster.job("build-nightly") is not None


def test_a_retry_on_another_replica_builds_the_same_thing(
    cluster: DevCluster, start: Start
) -> None:
    first = start()
    asked: dict[str, Any] = {
        "context_url": "s3://mine/c.tar.gz",
        "build_args": {"A": "1"},
        "runtime": "python",
    }
    name = first.post(1, **asked).json["job_name"]
    first.wait_for(1, *BUILT)
    before = cluster.job(name)
    second = start()
    cluster.finish_job(name, succeeded=False)
    wait_until(lambda: second.http.get(f"/async-jobs/{name}").json["state"] == "failed", "the end")
    assert second.http.post(f"/async-jobs/{name}/retry").status_code == 200

    def arguments(job: Any) -> Any:
        pod = job["spec"]["template"]["spec"]
        both = (*pod["initContainers"], *pod["containers"])
        return [(each["args"], each["env"]) for each in both]

    def made_anew() -> bool:
        job = cluster.job(name)
        return job is not None and job["metadata"]["uid"] != before["metadata"]["uid"]

    wait_until(made_anew, "the new Job")
    assert arguments(cluster.job(name)) == arguments(before)


# -- retry ---------------------------------------------------------------------------------------


def test_two_retries_at_once_let_a_build_go_again_once(cluster: DevCluster, start: Start) -> None:
    running = start(drain_seconds=2)
    refuse_jobs(cluster)
    for number in range(8):
        running.post(number)
    for number in range(8):
        running.wait_for(number, BuildState.DEAD)
    cluster.clear_faults()
    cluster.add_fault(Fault("latency", verb="get", resource="jobs", seconds=0.1))

    def retry(number: int) -> int:
        answer = running.app.test_client().post(f"/async-jobs/{number // 2}/retry")
        return int(answer.status_code)

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(retry, range(16)))
    assert sorted(codes) == [200] * 8 + [409] * 8
    for number in range(8):
        running.wait_for(number, *BUILT)
    wait_until(lambda: running.stats()["created_total"] == 8, "the outcomes")
    assert running.stats()["accepted_total"] == 16


def test_a_retry_that_cannot_clear_the_old_job_leaves_the_build_as_it_was(
    cluster: DevCluster, start: Start
) -> None:
    running = start(kube_api_timeout_seconds=1)
    refuse_jobs(cluster)
    running.post(1)
    running.wait_for(1, BuildState.DEAD)
    cluster.add_fault(Fault("hang", verb="get", resource="jobs"))
    assert running.http.post("/async-jobs/1/retry").json["code"] == "kubernetes_unavailable"
    cluster.clear_faults()
    assert running.http.get("/async-jobs/1").json["state"] == "dead"
    assert running.http.post("/async-jobs/1/retry").status_code == 200
    running.wait_for(1, *BUILT)


# -- cancel --------------------------------------------------------------------------------------


def test_a_cancelled_build_whose_answer_was_lost_leaves_no_job(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_builder.steering.commands._CANCEL_SECONDS", 0.2)
    running = start(kube_api_timeout_seconds=1)
    cluster.add_fault(Fault("hang_after", verb="create", resource="jobs", times=1))
    running.post(1)
    wait_until(lambda: len(cluster.jobs()) == 1, "the Job that nobody heard of")
    cluster.outage()
    wait_until(lambda: not running.stats()["api_available"], "the outage to be seen")
    running.wait_for(1, BuildState.RETRYING)
    assert running.http.delete("/async-jobs/1").json["code"] == "kubernetes_unavailable"
    cluster.clear_faults()
    cluster.restore()
    wait_until(lambda: cluster.jobs() == [], "no Job to be left", 20)
    running.wait_for(1, BuildState.CANCELLED)


def test_a_build_that_waits_for_its_next_attempt_is_cancelled_at_once(
    cluster: DevCluster, start: Start
) -> None:
    running = start(retry_base_seconds=60, retry_max_seconds=60)
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=503, retry_after=60))
    for number in range(3):
        running.post(number, parser_id="p", third_party_id="acme")
    for number in range(3):
        running.wait_for(number, BuildState.RETRYING)
    begun = time.monotonic()
    assert running.http.delete("/async-jobs/0").json["state"] == "cancelled"
    answer = running.http.post(
        "/events",
        json={"third_party_id": "acme", "parser_id": "p"},
        headers={"Ce-Type": "network.notifi.lambda.build.cancel"},
    )
    assert answer.status_code == 200
    for number in range(3):
        running.wait_for(number, BuildState.CANCELLED)
    assert time.monotonic() - begun < 30, "the delay was waited for"


def test_a_build_that_waits_to_be_replayed_can_be_cancelled(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "drain_seconds": 0.1}
    cluster.outage()
    first = start(**settings)
    for number in range(30):
        first.post(number)
    first.service.shutdown()
    second = start(**settings, queue_size=5, worker_count=1, worker_count_max=1)
    answer = second.http.delete("/async-jobs/29")
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    cluster.restore()
    wait_until(lambda: len(cluster.jobs()) == 29, "the other builds", 20)
    wait_until(lambda: second.post("new").status_code == 200, "room")
    ids = {j["metadata"]["annotations"]["build.notifi.network/event-id"] for j in cluster.jobs()}
    assert "29" not in ids


def test_cancelling_what_has_just_finished_says_so_and_keeps_the_job(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    name = running.post(1).json["job_name"]
    running.wait_for(1, BuildState.RUNNING)
    cluster.add_fault(Fault("hang", verb="watch"))
    cluster.add_fault(Fault("expire_watch"))
    cluster.finish_job(name)
    answer = running.http.delete("/async-jobs/1")
    assert (answer.status_code, answer.json["code"]) == (409, "already_finished")
    assert cluster.job(name) is not None
    cluster.clear_faults()


def test_a_cancel_that_may_not_delete_the_job_leaves_the_build_with_it(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    cluster.add_fault(Fault("status", verb="delete", resource="jobs", status=403, message="no"))
    cluster.add_fault(Fault("latency", verb="create", resource="jobs", seconds=0.3))
    running.post(1)
    wait_until(lambda: running.stats()["busy_workers"] == 1, "the attempt")
    running.http.delete("/async-jobs/1")
    running.wait_for(1, *BUILT)
    assert len(cluster.jobs()) == 1
    assert running.stats()["dead_total"] == 0


# -- replay and outage ---------------------------------------------------------------------------


def test_a_replay_outlasts_a_read_that_fails(
    cluster: DevCluster, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "drain_seconds": 0.1}
    cluster.outage()
    first = start(**settings)
    for number in range(20):
        first.post(number)
    first.service.shutdown()
    cluster.restore()
    real, reads = SqliteJournal.open_builds, []

    def flaky(self: SqliteJournal, **query: Any) -> Any:
        reads.append(query)
        if len(reads) == 1:
            raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "disk I/O error")
        return real(self, **query)

    monkeypatch.setattr(SqliteJournal, "open_builds", flaky)
    second = start(**settings, queue_size=20)
    wait_until(lambda: len(cluster.jobs()) == 20, "the left-over builds", 20)
    wait_until(lambda: second.post("new").status_code == 200, "room for new events")


def test_restarts_during_an_outage_cost_no_attempt(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "drain_seconds": 0.1}
    cluster.outage()
    for _ in range(5):
        running = start(**settings)
        running.post(1)
        wait_until(lambda r=running: not r.stats()["api_available"], "the outage to be seen")  # type: ignore[misc]
        running.service.shutdown()
    cluster.restore()
    running = start(**settings)
    assert running.wait_for(1, *BUILT).attempts == 1


def test_a_redelivery_during_the_replay_leaves_no_build_that_nobody_queues(
    cluster: DevCluster, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "drain_seconds": 0.1}
    cluster.outage()
    first = start(**settings)
    send(first, "1")
    first.service.shutdown()
    cluster.restore()
    real_find, real_take_over = SqliteJournal.find, TakeOver._run
    go, found = threading.Event(), threading.Event()

    def late_take_over(self: TakeOver, stopping: threading.Event) -> None:
        go.wait(10)
        real_take_over(self, stopping)

    def slow_find(self: SqliteJournal, event_hash: str) -> Any:
        result = real_find(self, event_hash)
        found.set()
        second.wait_for("1", *BUILT)
        return result

    monkeypatch.setattr(TakeOver, "_run", late_take_over)
    second = start(**settings, ack="created", ack_timeout_seconds=2)
    monkeypatch.setattr(SqliteJournal, "find", slow_find)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, second, "1")
        assert found.wait(5)
        go.set()
        assert answer.result().status_code == 200
    monkeypatch.setattr(SqliteJournal, "find", real_find)
    wait_until(lambda: second.stats()["busy_workers"] == 0, "the worker")
    assert send(second, "1").status_code == 200
    assert second.http.delete("/async-jobs/1").json["state"] == "cancelled"


def test_the_wait_in_the_queue_is_measured_once_for_each_build(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    cluster.outage()
    for number in range(5):
        running.post(number)
    wait_until(lambda: not running.stats()["api_available"], "the outage to be seen")
    cluster.restore()
    for number in range(5):
        running.wait_for(number, *BUILT, timeout=20)
    assert running.metric("async_job_queue_wait_seconds_count") == 5


# -- two deliveries at once ----------------------------------------------------------------------


class Gate:
    """Holds an acceptance of so many builds just before its slots are reserved."""

    def __init__(self, running: Running, count: int) -> None:
        self.inside, self.open = threading.Event(), threading.Event()
        self._count = count
        acceptance = running.services.acceptance
        self._reserve = acceptance._reserve
        acceptance._reserve = self  # type: ignore[method-assign]

    def __call__(self, requests: Sequence[BuildRequest], size: int) -> None:
        if len(requests) == self._count:
            self.inside.set()
            assert self.open.wait(10)
        self._reserve(requests, size)


def test_a_delivery_does_not_inherit_the_refusal_of_another(
    cluster: DevCluster, start: Start
) -> None:
    running = start(queue_size=3)
    gate = Gate(running, 4)
    with ThreadPoolExecutor(2) as pool:
        too_large = pool.submit(send_batch, running, "abcd")
        assert gate.inside.wait(5)
        single = pool.submit(send, running, "a")
        gate.open.set()
        assert too_large.result().status_code == 400
        assert single.result().json["status"] == "queued"
    running.wait_for("a", *BUILT)


def test_batches_that_overlap_are_each_whole_or_nothing(cluster: DevCluster, start: Start) -> None:
    running = start(queue_size=3, worker_count=1, worker_count_max=1)
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
    running.post(0)
    wait_until(lambda: running.stats()["busy_workers"] == 1, "the worker to hang")
    gate = Gate(running, 3)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send_batch, running, "abc")
        assert gate.inside.wait(5)
        second = pool.submit(send_batch, running, "cde")
        gate.open.set()
        codes = {first.result().status_code, second.result().status_code}
    assert codes == {200, 503}
    known = [running.result(key) is not None for key in "abcde"]
    assert known in ([True] * 3 + [False] * 2, [False] * 2 + [True] * 3)
    cluster.clear_faults()


# -- telling -------------------------------------------------------------------------------------


def test_a_build_ends_though_its_news_cannot_be_made(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch, sink: HttpSink
) -> None:
    running = start(dead_letter_url=sink.url, drain_seconds=2)

    def faulty(self: Announcer, result: Any) -> Any:
        raise ZeroDivisionError("in the telling")

    monkeypatch.setattr(Announcer, "dead_letter", faulty)
    refuse_jobs(cluster)
    running.post(1)
    running.wait_for(1, BuildState.DEAD)
    wait_until(lambda: running.stats()["dead_total"] == 1, "the outcome")
    assert running.stats()["busy_workers"] == 0


def test_refused_events_do_not_crowd_out_what_was_accepted(
    cluster: DevCluster, start: Start, sink: HttpSink
) -> None:
    sink.status = 503
    running = start(sink_url=sink.url, dead_letter_url=sink.url)
    refuse_jobs(cluster)
    running.post(1)
    running.wait_for(1, BuildState.DEAD)
    outbox = running.outbox
    for number in range(1200):
        running.http.post("/events", data=b"%d" % number, headers={"Ce-Type": TYPE})
    assert outbox.pending("dead_letter") == 1
    assert outbox.pending("sink") <= 1001


def test_a_panic_is_logged_without_local_variables(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    written = io.StringIO()
    logs.configure(json_lines=True, level="info", stream=written)

    def faulty(self: BuildRunner, request: Any, manifest: Any) -> Any:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(BuildRunner, "create", faulty)
    try:
        running.post(1, build_args={"TOKEN": "hunter2"})
        running.wait_for(1, BuildState.DEAD)
    finally:
        structlog.reset_defaults()
    assert "worker_panic" in written.getvalue()
    assert "hunter2" not in written.getvalue()


# -- the end -------------------------------------------------------------------------------------


def test_builds_that_were_not_replayed_are_handed_off_too(
    cluster: DevCluster, start: Start, tmp_path: Path, sink: HttpSink
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "drain_seconds": 0.1}
    cluster.outage()
    first = start(**settings)
    for number in range(20):
        first.post(number)
    first.service.shutdown()
    second = start(**settings, queue_size=5, handoff_url=sink.url)
    wait_until(lambda: second.stats()["queue_size"] >= 4, "some to be replayed")
    second.service.shutdown()
    assert sorted(int(headers["ce-id"]) for headers, _ in sink.events) == list(range(20))
    assert start(**settings).stats()["accepted_total"] == 0


def test_a_slow_broker_gets_what_is_left_several_at_a_time(
    cluster: DevCluster, start: Start, sink: HttpSink
) -> None:
    running = start(handoff_url=sink.url, drain_seconds=0.2)
    sink.delay = 0.03
    cluster.outage()
    for number in range(100):
        assert running.post(number).status_code == 200
    running.service.shutdown()
    assert len(sink.events) == 100


def test_a_shutdown_with_the_api_away_drains_nothing_and_has_all_the_time_for_the_hand_off(
    cluster: DevCluster, start: Start, sink: HttpSink
) -> None:
    running = start(handoff_url=sink.url, drain_seconds=15)
    sink.delay = 1.0
    cluster.outage()
    for number in range(98):
        assert running.post(number).status_code == 200
    wait_until(lambda: not running.stats()["api_available"], "the outage to be seen")
    begun = time.monotonic()
    running.service.shutdown()
    assert len(sink.events) == 98
    assert time.monotonic() - begun < 14


def test_what_a_slow_hand_off_does_not_take_in_time_reaches_the_dead_letters(
    cluster: DevCluster, start: Start, sink: HttpSink
) -> None:
    broker = HttpSink()
    broker.hang()
    running = start(handoff_url=broker.url, dead_letter_url=sink.url, drain_seconds=6)
    sink.delay = 0.1
    cluster.outage()
    for number in range(90):
        assert running.post(number).status_code == 200
    wait_until(lambda: not running.stats()["api_available"], "the outage to be seen")
    running.service.shutdown()
    assert len(sink.events) == 90
    broker.close()


def test_a_shutdown_ends_open_logs_and_the_leadership_before_it_drains(
    cluster: DevCluster, start: Start, sink: HttpSink
) -> None:
    running = start(sink_url=sink.url, drain_seconds=10)
    running.post(1)
    running.wait_for(1, *BUILT)
    leadership = next(p for p in running.service._parts if isinstance(p, Leadership))
    wait_until(lambda: leadership.is_leader, "the leadership")
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
    running.post(2)
    wait_until(lambda: running.stats()["busy_workers"] == 1, "a call to hang")
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        build = running.result(1)
        assert build is not None
        log = pool.submit(list, running.services.logs.open(build, follow=True))
        running.service.begin_shutdown()
        log.result(5)
        wait_until(lambda: not leadership.is_leader, "the leadership to be given up")
    assert running.stats()["busy_workers"] == 1, "the drain goes on"
    assert time.monotonic() - begun < 8
    cluster.clear_faults()


@pytest.mark.parametrize("url", ["http://broker..svc/", "http://127.0.0.1:9/"])
def test_a_hand_off_that_cannot_work_does_not_spoil_the_stop(
    cluster: DevCluster, start: Start, tmp_path: Path, url: str
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3"}
    running = start(**settings, handoff_url=url, drain_seconds=0.1)
    cluster.outage()
    for number in range(3):
        running.post(number)
    running.service.shutdown()
    cluster.restore()
    again = start(**settings)
    for number in range(3):
        again.wait_for(number, *BUILT)


def test_a_sink_that_hangs_does_not_hold_up_the_stop(
    cluster: DevCluster, start: Start, sink: HttpSink
) -> None:
    running = start(sink_url=sink.url, drain_seconds=20)
    sink.hang()
    running.post(1)
    running.wait_for(1, *BUILT)
    wait_until(lambda: sink.hanging > 0, "a delivery to hang")
    begun = time.monotonic()
    running.service.shutdown()
    assert time.monotonic() - begun < 6
    sink.close()


def test_a_cancel_just_before_a_build_is_put_off_does_not_wait_for_the_delay(
    cluster: DevCluster, start: Start
) -> None:
    running = start(retry_base_seconds=60, retry_max_seconds=60)
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=503))
    build_queue = running.queue
    give_back, reached, go_on = build_queue.give_back, threading.Event(), threading.Event()

    def slow(entry: Any, delay: float = 0.0) -> None:
        reached.set()
        assert go_on.wait(10)
        give_back(entry, delay)

    build_queue.give_back = slow
    running.post(1)
    assert reached.wait(10)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.app.test_client().delete, "/async-jobs/1")
        build = running.live.get(running.result(1).request.event_hash)
        wait_until(lambda: build is not None and build.cancelled, "the mark")
        go_on.set()
        assert answer.result().json["state"] == "cancelled"


def test_a_cancel_that_cannot_be_carried_out_is_not_tried_in_a_hurry(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_builder.steering.commands._CANCEL_SECONDS", 0.5)
    running = start(retry_base_seconds=0.2, retry_max_seconds=0.2)
    cluster.add_fault(Fault("latency", verb="create", resource="jobs", seconds=0.2))
    cluster.add_fault(Fault("status", verb="delete", resource="jobs", status=500))
    running.post(1)
    wait_until(lambda: running.stats()["busy_workers"] == 1, "the attempt")
    assert running.http.delete("/async-jobs/1").status_code == 503
    deletes = [request for request in cluster.requests() if request.verb == "delete"]
    assert 1 <= len(deletes) < 20
    cluster.clear_faults()
    running.wait_for(1, BuildState.CANCELLED)
    wait_until(lambda: cluster.jobs() == [], "no Job to be left")


def cancel(running: Running, **data: str) -> None:
    answer = running.app.test_client().post(
        "/events", json=data, headers={"Ce-Type": "network.notifi.lambda.build.cancel"}
    )
    assert answer.status_code == 200


def test_a_cancel_that_kubernetes_refuses_harms_no_other_cancel(
    cluster: DevCluster, start: Start
) -> None:
    running = start()
    names = [running.post(number).json["job_name"] for number in range(2)]
    for number in range(2):
        running.wait_for(number, *BUILT)
    cluster.add_fault(
        Fault("status", verb="delete", resource="jobs", name_prefix=names[0], status=403)
    )
    cancel(running, job_name=names[0])
    cancel(running, job_name="build-x/status")
    cancel(running, job_name=names[1])
    running.wait_for(1, BuildState.CANCELLED)
    assert running.http.delete("/async-jobs/0").json["code"] == "kubernetes_refused"
    assert cluster.job(names[0]) is not None


def test_a_waiting_build_is_cancelled_by_an_event_while_the_api_is_away(
    cluster: DevCluster, start: Start
) -> None:
    running = start(worker_count=1, worker_count_max=1)
    cluster.outage()
    for number in range(5):
        running.post(number)
    wait_until(lambda: not running.stats()["api_available"], "the outage to be seen")
    cancel(running, correlation_id="4")
    running.wait_for(4, BuildState.CANCELLED)


def test_a_cancel_event_finds_the_build_of_another_replica_once_it_has_a_job(
    cluster: DevCluster, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_builder.steering.command_events._FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("lambda_builder.steering.command_events._LONGEST_PAUSE_SECONDS", 0.2)
    first, second = start(), start()
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
    name = first.post(1).json["job_name"]
    cancel(second, job_name=name)
    cluster.clear_faults()
    first.wait_for(1, BuildState.CANCELLED)
    wait_until(lambda: cluster.jobs() == [], "no Job to be left")
    # What is asked for after the cancel is not meant by it.
    third = first.post(2, correlation_id="again").json
    assert third["status"] == "queued"
    first.wait_for("again", *BUILT)
