"""The service with a journal: restarts, dead letters, acknowledgements, hand-off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from lambda_builder.builds import BuildError, BuildState
from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import SqliteJournal
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.steering import commands
from tests.http_sink import HttpSink
from tests.integration.service.conftest import BUILT, Running
from tests.journals import make_message, make_request, opened, raw
from tests.waiting import wait_until

Start = Callable[..., Running]


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    running = HttpSink()
    yield running
    running.close()


def refuse_jobs(cluster: DevCluster) -> None:
    cluster.add_fault(Fault("status", verb="create", resource="jobs", status=403, message="no"))


def test_what_was_not_built_before_the_stop_is_built_after_the_start(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "drain_seconds": 0.2}
    first = start(**settings, worker_count=1, worker_count_max=1)
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
    for number in range(20):
        assert first.post(number).status_code == 200
    first.service.shutdown()
    cluster.clear_faults()
    before = {job["metadata"]["name"] for job in cluster.jobs()}
    second = start(**settings)
    wait_until(lambda: len(cluster.jobs()) == 20, "the left-over builds")
    assert len(before) < 20
    assert second.stats()["accepted_total"] >= 19
    for number in range(20):
        assert second.post(number).json["status"] == "duplicate"
    assert len(cluster.jobs()) == 20


def test_left_over_builds_are_replayed_in_order_and_new_events_wait_their_turn(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "drain_seconds": 0.1}
    first = start(**settings, queue_size=100)
    cluster.outage()
    for number in range(60):
        assert first.post(number).status_code == 200
    first.service.shutdown()
    second = start(**settings, queue_size=10, worker_count=1, worker_count_max=1)
    refused = second.post("new")
    assert (refused.status_code, refused.json["code"]) == (503, "queue_full")
    known = second.post(55)
    assert (known.status_code, known.json["status"]) == (200, "duplicate")
    cluster.restore()
    wait_until(lambda: len(cluster.jobs()) == 60, "the left-over builds", 20)
    ids = [j["metadata"]["annotations"]["build.notifi.network/event-id"] for j in cluster.jobs()]
    assert ids == [str(number) for number in range(60)]
    wait_until(lambda: second.post("new").status_code == 200, "room for new events")


def test_dead_builds_are_seen_across_restarts_and_can_go_again(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3"}
    first = start(**settings)
    refuse_jobs(cluster)
    first.post(1)
    first.post(2)
    first.wait_for(1, BuildState.DEAD)
    first.wait_for(2, BuildState.DEAD)
    first.service.shutdown()
    cluster.clear_faults()
    second = start(**settings)
    listed = second.http.get("/async-jobs?state=dead").json["items"]
    assert sorted(build["correlation_id"] for build in listed) == ["1", "2"]
    assert listed[0]["error"]["code"] == "forbidden"
    assert second.post(1).json["state"] == "dead"
    assert second.http.post("/async-jobs/1/retry").status_code == 200
    second.wait_for(1, *BUILT)
    second.service.shutdown()
    third = start(**settings)
    listed = third.http.get("/async-jobs?state=dead").json["items"]
    assert [build["correlation_id"] for build in listed] == ["2"]


def test_what_was_found_out_about_an_ended_job_outlasts_it_and_a_restart(
    cluster: DevCluster, start: Start, tmp_path: Path
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3"}
    first = start(**settings)
    names = [first.post(number).json["job_name"] for number in (1, 2)]
    for number in (1, 2):
        first.wait_for(number, BuildState.RUNNING)
    cluster.finish_job(names[0], succeeded=False, exit_code=1)
    cluster.finish_job(names[1])

    def shown(replica: Running) -> list[dict[str, Any]]:
        return [replica.http.get(f"/async-jobs/{number}").json for number in (1, 2)]

    def is_found_out() -> bool:
        failed, pushed = shown(first)
        return bool(failed["failure_category"] and pushed["image_digest"])

    wait_until(is_found_out, "what the pods tell")
    before = shown(first)
    first.service.shutdown()
    for name in names:
        path = f"{cluster.url}/apis/batch/v1/namespaces/knative-lambda/jobs/{name}"
        assert requests.delete(path, timeout=10).ok
    second = start(**settings)
    assert shown(second) == before
    assert "last lines of its log" in before[0]["error"]["message"]


@pytest.mark.parametrize("ends", ["while the service is away", "after its restart"])
def test_how_a_job_ended_is_known_after_restarts_when_it_is_gone(
    cluster: DevCluster, start: Start, tmp_path: Path, ends: str
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3"}
    first = start(**settings)
    name = first.post(1).json["job_name"]
    first.wait_for(1, BuildState.RUNNING)
    first.service.shutdown()
    if ends == "while the service is away":
        cluster.finish_job(name)
    second = start(**settings)
    wait_until(lambda: second.services.builds._watcher.by_name(name), "the watch")
    if ends == "after its restart":
        cluster.finish_job(name)
    wait_until(lambda: second.http.get("/async-jobs/1").json["state"] == "succeeded", "its end")
    path = f"{cluster.url}/apis/batch/v1/namespaces/knative-lambda/jobs/{name}"
    assert requests.delete(path, timeout=10).ok
    wait_until(lambda: not second.services.builds._watcher.by_name(name), "the Job to be gone")
    # The watch may have let go of it, and not have told of that yet.
    wait_until(lambda: second.http.get("/async-jobs/1").status_code == 200, "it to be known")
    assert second.http.get("/async-jobs/1").json["state"] == "succeeded"
    second.service.shutdown()
    third = start(**settings)
    assert third.http.get("/async-jobs/1").json["state"] == "succeeded"
    assert third.post(1).json["status"] == "duplicate"


def test_a_dead_letter_is_the_event_as_it_was_and_survives_an_outage_of_the_sink(
    cluster: DevCluster, start: Start, tmp_path: Path, sink: HttpSink
) -> None:
    settings = {
        "journal_path": tmp_path / "journal.sqlite3",
        "dead_letter_url": sink.url,
        "sink_url": sink.url,
    }
    first = start(**settings)
    sink.status = 503
    refuse_jobs(cluster)
    first.post(1, custom={"kept": [1, 2]})
    first.wait_for(1, BuildState.DEAD)
    first.service.shutdown()
    assert sink.events == []
    sink.status = 202
    start(**settings)
    wait_until(lambda: len(sink.events) >= 3, "the deliveries")
    dead = [event for event in sink.events if "ce-lambdabuildererror" in event[0]]
    assert len(dead) == 1
    headers, body = dead[0]
    assert (headers["ce-id"], headers["ce-source"]) == ("1", "network.notifi.acme")
    assert headers["ce-type"] == "network.notifi.lambda.build.start"
    assert headers["ce-lambdabuildererror"] == "forbidden"
    assert headers["ce-lambdabuilderattempts"] == "1"
    assert body == {"parser_id": "parser-1", "custom": {"kept": [1, 2]}}
    news = [kind for kind in sink.types() if kind != "start"]
    assert news == ["accepted", "failed"]


def test_left_over_builds_are_handed_off_as_the_events_they_were(
    cluster: DevCluster, start: Start, tmp_path: Path, sink: HttpSink
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "handoff_url": sink.url}
    running = start(**settings, drain_seconds=0.2)
    cluster.outage()
    for number in range(5):
        running.post(number)
    running.service.shutdown()
    assert sorted(headers["ce-id"] for headers, _ in sink.events) == list("01234")
    cluster.restore()
    again = start(**settings)
    assert again.stats()["accepted_total"] == 0
    # The broker sends them back here: they were given away, so they are new.
    assert again.post(3).json["status"] == "queued"
    again.wait_for(3, *BUILT)


def test_a_pause_of_the_api_that_outlasts_the_drain_ends_it_at_once(start: Start) -> None:
    running = start(drain_seconds=15)
    running.creator._health.report_throttled(3600.0)
    for number in range(30):
        running.post(number)
    began = time.monotonic()
    running.service.shutdown()
    assert time.monotonic() - began < 10


def test_a_hand_off_that_fails_leaves_the_builds_in_the_journal(
    cluster: DevCluster, start: Start, tmp_path: Path, sink: HttpSink
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3", "handoff_url": sink.url}
    running = start(**settings, drain_seconds=0.2)
    sink.status = 500
    cluster.outage()
    running.post(1)
    running.service.shutdown()
    cluster.restore()
    again = start(**settings)
    again.wait_for(1, *BUILT)


def test_without_a_journal_or_a_hand_off_the_left_over_goes_to_the_dead_letters(
    cluster: DevCluster, start: Start, sink: HttpSink
) -> None:
    running = start(dead_letter_url=sink.url, drain_seconds=0.2)
    cluster.outage()
    running.post(1)
    running.service.shutdown()
    assert [headers["ce-lambdabuildererror"] for headers, _ in sink.events] == ["shutdown"]


def test_what_was_told_last_leaves_before_the_stop(
    start: Start, tmp_path: Path, sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_builder.journal.sqlite.store.GATHER_SECONDS", 3600.0)
    running = start(journal_path=tmp_path / "journal.sqlite3", sink_url=sink.url)
    outbox = running.service._journal.outbox
    outbox.put([make_message("last", body=b"{}")])
    running.service.shutdown()
    assert len(sink.events) == 1


def test_an_event_acknowledged_on_creation_is_answered_when_its_job_exists(
    cluster: DevCluster, start: Start
) -> None:
    running = start(ack="created", ack_timeout_seconds=5)
    cluster.add_fault(Fault("latency", verb="create", resource="jobs", seconds=0.2))
    assert running.post(1).status_code == 200
    assert len(cluster.jobs()) == 1


def test_a_wait_for_creation_ends_in_time_and_the_redelivery_meets_the_same_job(
    cluster: DevCluster, start: Start
) -> None:
    running = start(ack="created", ack_timeout_seconds=0.3)
    cluster.outage()
    answer = running.post(1)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert running.http.get("/health").status_code == 200
    cluster.restore()
    running.wait_for(1, *BUILT, timeout=15)
    assert running.post(1).status_code == 200
    assert len(cluster.jobs()) == 1


def test_a_build_that_dies_while_its_sender_waits_is_not_acknowledged(
    cluster: DevCluster, start: Start
) -> None:
    running = start(ack="created")
    refuse_jobs(cluster)
    answer = running.post(1)
    assert answer.status_code == 503
    assert answer.json["code"] == "build_failed"


def test_an_event_is_built_although_its_acceptance_cannot_be_told(
    start: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(journal_path=tmp_path / "journal.sqlite3", sink_url="http://127.0.0.1:9/")
    refused: list[object] = []

    def refuse(messages: object, **_: object) -> None:
        refused.append(messages)
        raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "journal is closed")

    monkeypatch.setattr(running.outbox, "put", refuse)
    assert running.post(1).status_code == 200
    assert refused
    running.wait_for(1, *BUILT)


def test_a_start_outlasts_ended_builds_that_cannot_be_read(
    start: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite3"
    with opened(path) as journal:
        journal.record([make_request(1)])

    def refuse(self: SqliteJournal, **_: object) -> None:
        raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "journal cannot be read: disk I/O error")

    monkeypatch.setattr(SqliteJournal, "finished", refuse)
    running = start(journal_path=path)
    running.wait_for("correlation-1", *BUILT)


def test_a_build_is_dead_in_the_journal_only_together_with_its_dead_letter(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with opened(path):
        pass
    with raw(path) as connection:
        connection.execute(
            "CREATE TRIGGER no_letters BEFORE INSERT ON outbox"
            " BEGIN SELECT RAISE(ABORT, 'no letters'); END"
        )
    with opened(path) as journal:
        announcer = Announcer(source="s", overrides={}, sink=False, dead_letters=True)
        results = ResultStore(ttl_seconds=60, maximum=10)
        announcements = Announcements(announcer, journal.outbox)
        ledger = Ledger(results, LiveBuilds(), journal, announcements, namespace="n")
        event = b'{"specversion":"1.0","id":"id-1","source":"s","type":"t"}'
        build = Build(make_request(1, event=event))
        journal.record([build.request])
        ledger.accepted([build])
        ledger.dead(build, BuildError("forbidden", "no such right"))
        assert journal.flush(5.0)

        kept = journal.find(build.request.event_hash)
        assert kept is not None
        assert kept.state is BuildState.QUEUED, "the next start would not make up for the letter"


# -- cancels ---------------------------------------------------------------------------------------


def test_a_cancel_is_answered_once_it_is_on_the_disk_and_refused_where_it_is_not(
    cluster: DevCluster, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite3"
    running = start(journal_path=path, worker_count=1, worker_count_max=1)
    cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
    for number in range(3):
        running.post(number)
    journal = running.service._journal
    before = journal.stats()["fsyncs"]
    assert running.http.delete("/async-jobs/1").status_code == 200
    assert journal.stats()["fsyncs"] == before + 2  # the cancel, and who asked for it

    monkeypatch.setattr(commands, "_CANCEL_SECONDS", 0.2)
    path.rename(tmp_path / "aside")
    answer = running.http.delete("/async-jobs/2")
    assert (answer.status_code, answer.json["code"]) == (503, "journal_unavailable")
    assert "a restart may forget it" in answer.json["detail"]
    (tmp_path / "aside").rename(path)
    cluster.clear_faults()
