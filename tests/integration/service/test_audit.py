"""Who cancelled and retried what: each try of steering has its entry, for those who may read it."""

from __future__ import annotations

import hashlib
import itertools

import pytest
import structlog
import yaml

from lambda_builder.builds import BuildState
from lambda_builder.web import models
from tests.integration.service.conftest import BUILT, TYPE
from tests.waiting import wait_until

CANCEL = "network.notifi.lambda.build.cancel"
RETRY = "network.notifi.lambda.build.retry"
POLICIES = {
    "admin": (["send", "read", "steer"], "*"),
    "tenant": (["send", "read", "steer"], "a"),
    "reader": (["read"], "a"),
    "helper": (["read", "send"], "*"),
    "sender": (["send"], "a"),
}
_IDS = itertools.count()


@pytest.fixture
def auth_file(tmp_path):
    path = tmp_path / "auth.yaml"
    hashed = {name: hashlib.sha256(f"{name}-token".encode()).hexdigest() for name in POLICIES}
    known: list[dict] = [
        {"name": name, "token_sha256": [digest]} for name, digest in hashed.items()
    ]
    policies = [
        {"identities": [name], "actions": actions, "tenants": [tenant]}
        for name, (actions, tenant) in POLICIES.items()
    ]
    path.write_text(
        yaml.safe_dump({"identities": [*known, {"name": "anonymous"}], "policies": policies})
    )
    return path


def call(running, identity, method, path, **more):
    headers = {} if identity is None else {"Authorization": f"Bearer {identity}-token"}
    return running.http.open(path, method=method, headers=headers, **more)


def send(running, identity, kind, **data):
    sent = {
        "specversion": "1.0",
        "id": f"{kind.rpartition('.')[2]}-{next(_IDS)}",
        "source": "s",
        "type": kind,
        "data": data,
    }
    answer = call(
        running, identity, "POST", "/events", json=sent, content_type="application/cloudevents+json"
    )
    return sent["id"], answer


def build(running, tenant):
    event_id, answer = send(running, "admin", TYPE, parser_id=f"p-{tenant}", third_party_id=tenant)
    assert answer.status_code == 200
    running.wait_for(event_id, *BUILT)
    return answer.json["job_name"]


def audit(running, identity="admin", **query):
    answer = call(running, identity, "GET", "/audit", query_string=query)
    assert answer.status_code == 200, answer.text
    models.AuditPage.model_validate(answer.json)
    return answer.json


def told(entry, *names):
    return tuple(entry[name] for name in names or ("identity", "action", "via", "build", "outcome"))


def test_cancels_and_retries_say_who_what_when_and_from_where(start, auth_file):
    running = start(auth_file=auth_file)
    job = build(running, "a")
    with structlog.testing.capture_logs() as logs:
        assert call(running, "admin", "DELETE", f"/async-jobs/{job}").status_code == 200
    assert call(running, "admin", "DELETE", f"/async-jobs/{job}").status_code == 409
    assert call(running, "admin", "POST", "/async-jobs/nowhere/retry").status_code == 404
    unknown, refused, done = audit(running)["items"]
    assert told(done) == ("admin", "cancel", "api", job, "done")
    assert told(done, "third_party_id", "parser_id", "address") == ("a", "p-a", "127.0.0.1")
    assert told(refused) == ("admin", "cancel", "api", job, "already_finished")
    assert told(unknown) == ("admin", "retry", "api", "nowhere", "not_found")
    assert unknown["time"] >= refused["time"] >= done["time"]
    [line] = [line for line in logs if line["event"] == "steered"]
    assert told(line) == told(done)


def test_whoever_may_not_steer_is_noted_and_whoever_is_nobody_is_not(start, auth_file):
    running = start(auth_file=auth_file)
    job = build(running, "b")
    assert call(running, "helper", "DELETE", f"/async-jobs/{job}").status_code == 403
    assert call(running, "helper", "POST", "/async-jobs/cancel?q=b").status_code == 403
    assert call(running, None, "DELETE", f"/async-jobs/{job}").status_code == 401
    assert call(running, "guess", "DELETE", f"/async-jobs/{job}").status_code == 401
    event_id, answer = send(running, "sender", CANCEL, third_party_id="b", parser_id="p-b")
    assert answer.status_code == 403
    by_event, many, one = audit(running)["items"]
    assert told(one) == ("helper", "cancel", "api", job, "forbidden")
    assert told(many, "identity", "via", "filter", "outcome") == (
        *("helper", "bulk", {"q": "b"}, "forbidden"),
    )
    assert told(by_event, "identity", "via", "event_id", "third_party_id", "outcome") == (
        *("sender", "event", event_id, "b", "forbidden"),
    )


def test_many_at_once_have_an_entry_each_and_one_with_the_filter_and_counts(start, auth_file):
    running = start(auth_file=auth_file)
    jobs = {build(running, tenant) for tenant in "ab"}
    path = "/async-jobs/cancel?all=true&state=running&state=created"
    call(running, "admin", "POST", f"{path}&dry_run=true")
    assert audit(running)["items"] == []
    assert call(running, "admin", "POST", path).json["done"] == 2
    whole, *each = audit(running)["items"]
    assert {told(entry) for entry in each} == {("admin", "cancel", "bulk", j, "done") for j in jobs}
    assert told(whole, "build", "matched", "done", "outcome") == (None, 2, 2, "done")
    assert whole["filter"] == {"state": "running,created", "all": "true"}


def test_what_did_nothing_has_no_entry_so_that_it_pushes_out_none(start, auth_file):
    running = start(auth_file=auth_file)
    build(running, "a")
    answer = call(running, "admin", "POST", "/async-jobs/cancel?q=nothing-has-this")
    assert answer.json == {"matched": 0, "done": 0, "refused": []}
    assert audit(running)["items"] == []


def test_an_event_is_noted_with_its_sender_when_it_is_carried_out(start, auth_file):
    running = start(auth_file=auth_file)
    job = build(running, "a")
    event_id, answer = send(running, "sender", CANCEL, job_name=job)
    assert answer.status_code == 200
    wait_until(lambda: audit(running)["items"], "the entry")
    [entry] = audit(running)["items"]
    assert told(entry) == ("sender", "cancel", "event", job, "done")
    assert told(entry, "event_id", "address", "third_party_id") == (event_id, "127.0.0.1", "a")


def test_an_event_without_effect_is_noted_when_it_is_given_up(start, auth_file, monkeypatch):
    monkeypatch.setattr("lambda_builder.steering.command_events._END_SECONDS", 0.0)
    running = start(auth_file=auth_file)
    job = build(running, "a")
    assert call(running, "admin", "DELETE", f"/async-jobs/{job}").status_code == 200
    send(running, "sender", RETRY, job_name=job)
    wait_until(lambda: len(audit(running)["items"]) == 2, "the entry")
    entry = audit(running)["items"][0]
    assert told(entry) == ("sender", "retry", "event", job, "not_retryable")


def test_one_sees_entries_about_builds_that_one_may_read(start, auth_file):
    running = start(auth_file=auth_file)
    jobs = {tenant: build(running, tenant) for tenant in "ab"}
    assert call(running, "admin", "POST", "/async-jobs/cancel?all=true").json["done"] == 2
    call(running, "admin", "DELETE", "/async-jobs/nowhere")
    assert len(audit(running, "helper")["items"]) == 4
    [entry] = audit(running, "reader")["items"]
    assert told(entry) == ("admin", "cancel", "bulk", jobs["a"], "done")
    assert call(running, "sender", "GET", "/audit").status_code == 403


def test_a_third_partys_entries_are_shown_to_whoever_may_read_its_builds(start, auth_file):
    running = start(auth_file=auth_file)
    jobs = {tenant: build(running, tenant) for tenant in "ab"}
    assert call(running, "admin", "POST", "/async-jobs/cancel?all=true").json["done"] == 2
    for identity in ("admin", "helper", "reader"):
        found = audit(running, identity, third_party_id="a")["items"]
        assert [entry["build"] for entry in found] == [jobs["a"]]
    query = {"third_party_id": "b"}
    assert [e["build"] for e in audit(running, **query)["items"]] == [jobs["b"]]
    # As a list of its builds would be, which are not there for whoever may not read them.
    listed = call(running, "reader", "GET", "/async-jobs", query_string=query)
    assert audit(running, "reader", **query) == listed.json == {"items": [], "next_cursor": None}
    assert call(running, "sender", "GET", "/audit", query_string=query).status_code == 403


def test_pages_follow_each_other_without_gaps(start, auth_file):
    running = start(auth_file=auth_file)
    for number in range(5):
        call(running, "admin", "DELETE", f"/async-jobs/none-{number}")
    seen, cursor = [], None
    while True:
        page = audit(running, limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [entry["build"] for entry in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
        call(running, "admin", "DELETE", "/async-jobs/later")
    assert seen == [f"none-{number}" for number in reversed(range(5))]
    for bad in ("x", "-1", "1" * 40):
        answer = call(running, "admin", "GET", "/audit", query_string={"cursor": bad})
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (400, "cursor")


def test_a_journal_keeps_them_across_restarts(start, auth_file, tmp_path):
    settings = {"auth_file": auth_file, "journal_path": tmp_path / "journal.db"}
    running = start(**settings)
    job = build(running, "a")
    assert call(running, "admin", "DELETE", f"/async-jobs/{job}").status_code == 200
    call(running, "admin", "DELETE", "/async-jobs/nowhere")
    before = audit(running)
    running.service.shutdown()
    again = start(**settings)
    wait_until(lambda: call(again, "admin", "GET", "/ready").status_code == 200)
    assert audit(again) == before
    call(again, "admin", "DELETE", "/async-jobs/later")
    assert [entry["build"] for entry in audit(again)["items"]] == ["later", "nowhere", job]


def test_a_page_of_another_site_and_a_read_only_service_leave_entries(start):
    running = start(read_only=True)
    headers = {"Origin": "https://evil.example"}
    assert running.http.delete("/async-jobs/one", headers=headers).status_code == 403
    assert running.http.delete("/async-jobs/two").status_code == 403
    found = running.http.get("/audit").json["items"]
    assert [told(entry, "identity", "build", "outcome") for entry in found] == [
        ("everybody", "two", "read_only"),
        ("everybody", "one", "forbidden"),
    ]
    assert BuildState.CANCELLED not in {build.state for build in running.results.by_id("two")}
