"""The client against answers as they may come: refused for now, for good, broken off, in parts."""

from __future__ import annotations

import json
import threading
import time
from itertools import islice
from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.client import (
    Change,
    Client,
    ClientError,
    NotTheService,
    Problem,
    Reset,
    Stats,
    StillGoing,
    Unreachable,
    build_event,
)
from lambda_builder.pipeline.stats import Stats as ServiceStats

ACCEPTED = {
    "status": "queued",
    "job_name": "build-c-p-1",
    "correlation_id": "one",
    "event_id": "one",
    "queue_size": 1,
    "result_url": "/async-jobs/build-c-p-1",
}


def build(state: str = "queued", **more: Any) -> dict[str, Any]:
    """Return a build as the service tells it."""
    told = {"job_name": "build-c-p-1", "correlation_id": "one", "state": state, "attempts": 1}
    event = {"id": "one", "source": "s", "type": "t"}
    ids = {"third_party_id": "c", "parser_id": "p", "error": None, "failure_category": None}
    return {**told, **ids, "event": event, **more}


# -- sending -------------------------------------------------------------------------------------


def test_an_event_is_sent_again_under_the_same_id_until_it_is_taken(scripted) -> None:
    scripted.refuse(503, "queue_full", Retry_After="0")
    scripted.break_off()
    scripted.refuse(429, "tenant_limit", Retry_After="0")
    scripted.answer(ACCEPTED)
    waits: list[str] = []
    with Client(scripted.url, on_wait=lambda error, s: waits.append(str(error))) as client:
        accepted = client.send(build_event("p", third_party_id="c"))
    assert (accepted.status, accepted.job_name) == ("queued", "build-c-p-1")
    bodies = [json.loads(body) for _, _, _, body in scripted.requests]
    assert len(bodies) == 4
    assert {body["id"] for body in bodies} == {bodies[0]["id"]}
    assert [wait.partition(":")[0] for wait in waits][::2] == ["queue_full", "tenant_limit"]


def test_retry_after_is_waited_for(scripted) -> None:
    scripted.refuse(503, "queue_full", Retry_After="1")
    scripted.answer(ACCEPTED)
    begun = time.monotonic()
    with Client(scripted.url) as client:
        client.send(build_event("p"))
    assert time.monotonic() - begun >= 1


def test_a_refusal_that_outlasts_the_patience_is_told_at_once(scripted) -> None:
    scripted.refuse(503, "queue_full", Retry_After="60")
    with Client(scripted.url, patience=5) as client, pytest.raises(Problem) as caught:
        client.send(build_event("p"))
    assert (caught.value.code, caught.value.retry_after) == ("queue_full", 60)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_data"), (401, "unauthenticated"), (503, "build_failed")],
)
def test_what_waiting_does_not_change_is_not_sent_again(scripted, status: int, code: str) -> None:
    scripted.refuse(status, code, Retry_After="0")
    with Client(scripted.url) as client, pytest.raises(Problem) as caught:
        client.send(build_event("p"))
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.detail == f"the detail of {code}"
    assert len(scripted.requests) == 1


def test_a_problem_names_the_fields_at_fault(scripted) -> None:
    errors = [{"field": "parser_id", "message": "is required"}]
    told = {"code": "invalid_data", "detail": "d", "correlation_id": "x", "errors": errors}
    scripted.answer(told, 400)
    with Client(scripted.url) as client, pytest.raises(Problem) as caught:
        client.send({"type": "t"})
    assert caught.value.errors == (("parser_id", "is required"),)
    assert caught.value.correlation_id == "x"


def test_an_event_without_an_id_gets_one_and_keeps_all_else(scripted) -> None:
    scripted.answer(ACCEPTED)
    with Client(scripted.url, token="secret") as client:
        client.send({"type": "t", "mine": 1})
    ((_, path, headers, body),) = scripted.requests
    assert path == "/events"
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == "application/cloudevents+json"
    sent = json.loads(body)
    assert sent.pop("id")
    assert sent == {"type": "t", "mine": 1}


def test_the_token_is_the_clients_own_whatever_netrc_says(
    scripted, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    scripted.answer(ACCEPTED)
    for token in ("secret", None):
        with Client(scripted.url, token=token) as client:
            client.send({"type": "t"})
    shown = [headers.get("authorization") for _, _, headers, _ in scripted.requests]
    assert shown == ["Bearer secret", None]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_a_proxy_says_for_a_service_that_is_away_is_no_end(scripted, status: int) -> None:
    scripted.answer("<html>Bad Gateway</html>", status)
    scripted.answer(ACCEPTED)
    with Client(scripted.url) as client:
        assert client.send(build_event("p")).status == "queued"
    first, second = (json.loads(body)["id"] for _, _, _, body in scripted.requests)
    assert first == second


def test_a_cancel_is_not_sent_twice_when_a_proxy_answers_for_the_service(scripted) -> None:
    scripted.answer("<html>Gateway Timeout</html>", 504)
    with Client(scripted.url) as client, pytest.raises(Unreachable, match="answered 504"):
        client.cancel("one")
    assert len(scripted.requests) == 1


def test_nothing_is_followed_to_another_address(scripted) -> None:
    scripted.answer("", 307, Location="http://127.0.0.1:1/")
    with Client(scripted.url, patience=0) as client, pytest.raises(NotTheService, match="307"):
        client.send(build_event("p"))


def test_whoever_waits_to_send_again_gives_up_when_the_client_is_closed(scripted) -> None:
    scripted.refuse(503, "queue_full", Retry_After="30")
    client = Client(scripted.url, on_wait=lambda error, seconds: waiting.set())
    waiting, failures = threading.Event(), list[Exception]()

    def send() -> None:
        try:
            client.send(build_event("p"))
        except Problem as error:
            failures.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    assert waiting.wait(10)
    client.close()
    sender.join(10)
    assert len(failures) == 1


# -- reading and steering ------------------------------------------------------------------------


def test_all_pages_are_read_one_after_the_other(scripted) -> None:
    scripted.answer({"items": [build(), build()], "next_cursor": "abc"})
    scripted.answer({"items": [build("failed")], "next_cursor": None})
    with Client(scripted.url) as client:
        states = [each.state for each in client.list(state=["queued", "failed"], q="", page_size=2)]
    assert states == [BuildState.QUEUED, BuildState.QUEUED, BuildState.FAILED]
    paths = [path for _, path, _, _ in scripted.requests]
    assert paths[0] == "/async-jobs?state=queued&state=failed&limit=2"
    assert paths[1].endswith("&cursor=abc")


def test_a_build_is_typed_and_keeps_what_this_client_does_not_know(scripted) -> None:
    error = {"code": "backoff_limit_exceeded", "message": "m"}
    times = {"accepted_at": "2026-11-24T06:00:00.000Z", "finished_at": None}
    scripted.answer(build("failed", error=error, failure_category="disk", news=1, **times))
    with Client(scripted.url) as client:
        found = client.get("a/b?c")
    assert scripted.requests[0][1] == "/async-jobs/a%2Fb%3Fc"
    assert (found.error.code, found.failure_category) == ("backoff_limit_exceeded", "disk")
    assert found.accepted_at.isoformat() == "2026-11-24T06:00:00+00:00"
    assert found.finished_at is None
    assert found.raw["news"] == 1


def test_a_build_is_waited_for_and_each_of_its_states_is_told(scripted) -> None:
    for state in ("queued", "running", "running", "succeeded"):
        scripted.answer(build(state))
    seen: list[str] = []
    with Client(scripted.url) as client:
        ended = client.wait("one", 10, on_change=lambda each: seen.append(each.state))
    assert ended.succeeded
    assert seen == ["queued", "running", "succeeded"]


def test_a_build_that_does_not_end_in_time_is_told(scripted) -> None:
    scripted.answer(build("running"))
    with Client(scripted.url) as client, pytest.raises(StillGoing, match=r"running after 0\.1"):
        client.wait("one", 0.1)


def test_whoever_waits_for_a_build_gives_up_when_the_client_is_closed(scripted) -> None:
    scripted.answer(build("running"))
    client, seen, failures = Client(scripted.url), threading.Event(), list[Exception]()

    def wait() -> None:
        try:
            client.wait("one", 30, on_change=lambda each: seen.set())
        except StillGoing as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert seen.wait(10)
    client.close()
    waiter.join(5)
    assert [str(error) for error in failures] == [
        "build-c-p-1 is running, and the client is closed"
    ]
    assert len(scripted.requests) < 10


def test_a_cancel_is_not_sent_twice_when_its_answer_is_lost(scripted) -> None:
    scripted.break_off()
    with Client(scripted.url) as client, pytest.raises(Unreachable):
        client.cancel("one")
    assert [request[0] for request in scripted.requests] == ["DELETE"]


def test_what_many_builds_are_steered_by_is_in_the_address(scripted) -> None:
    refused = [{"job_name": "j", "code": "already_finished", "detail": "d"}]
    scripted.answer({"matched": 2, "done": 1, "refused": refused})
    with Client(scripted.url) as client:
        outcome = client.cancel_all(state=["queued"], q=None)
        client.retry_all(everything=True, dry_run=True)
    assert (outcome.matched, outcome.done, outcome.refused[0].code) == (2, 1, "already_finished")
    assert [request[1] for request in scripted.requests] == [
        "/async-jobs/cancel?state=queued",
        "/async-jobs/retry?dry_run=true&all=true",
    ]


@pytest.mark.parametrize("told", [{}, {"job_name": "x"}, build("unheard-of"), [], "<html>"])
def test_an_answer_that_is_not_the_services_is_told(scripted, told: Any) -> None:
    scripted.answer(told)
    with Client(scripted.url) as client, pytest.raises(NotTheService):
        client.get("one")


# -- changes -------------------------------------------------------------------------------------


def message(kind: str, told: Any, number: int | None = None) -> str:
    """Return one message of a stream."""
    named = f"id: e-{number}\n" if number is not None else ""
    return f"{named}event: {kind}\ndata: {json.dumps(told)}\n\n"


def test_changes_go_on_where_they_were_after_a_lost_connection(scripted) -> None:
    stats = ServiceStats().model_dump()
    cut = message("change", {"job_name": "lost", "state": "queued"}, 3)[:-1]
    scripted.answer(
        message("change", {"job_name": "a", "state": "queued"}, 1) + message("stats", stats) + cut
    )
    scripted.answer(": hello\n\n" + message("change", {"job_name": "a", "state": "running"}, 2))
    scripted.answer(message("reset", {}, 9))
    with Client(scripted.url) as client:
        found = list(islice(client.changes(), 4))
    assert isinstance(found[1], Stats)
    assert [each.state for each in found if isinstance(each, Change)] == ["queued", "running"]
    assert found[3] == Reset()
    asked = [headers.get("last-event-id") for _, _, headers, _ in scripted.requests]
    assert asked == [None, "e-1", "e-2"]


def test_changes_that_end_at_once_are_asked_for_less_and_less_often(
    scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.answer("")
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) > 6

    with Client(scripted.url) as client:
        monkeypatch.setattr(client._transport, "pause", pause)
        assert list(client.changes()) == []
    assert pauses[0] == 0
    for number, seconds in enumerate(pauses[1:]):
        longest = min(2**number, 30)
        assert longest / 2 <= seconds <= longest


def test_changes_that_there_is_no_room_for_are_refused(scripted) -> None:
    scripted.refuse(503, "too_many_streams")
    with Client(scripted.url, patience=0) as client, pytest.raises(Problem) as caught:
        next(client.changes())
    assert caught.value.code == "too_many_streams"


def test_an_empty_filter_steers_nothing(scripted) -> None:
    """An unset variable must not mean the builds of all tenants."""
    client = Client(scripted.url)
    with pytest.raises(ClientError, match="third_party_id is empty"):
        client.cancel_all(third_party_id="", state=["queued"])
    assert scripted.requests == []


def test_a_token_may_end_its_line_and_a_broken_one_is_not_shown(scripted) -> None:
    scripted.answer({"items": [], "next_cursor": None})
    Client(scripted.url, "s3cret\n").page()
    assert scripted.requests[0][2]["authorization"] == "Bearer s3cret"
    with pytest.raises(ClientError) as caught:
        Client(scripted.url, "s3cret\ntoken")
    assert "s3cret" not in str(caught.value)
