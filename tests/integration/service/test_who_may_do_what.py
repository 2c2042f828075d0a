"""Who may do what: every identity at every operation of the OpenAPI document, for each tenant.

An operation that the table below does not have fails: nobody has thought of who may do it.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json

import pytest
import yaml

from lambda_builder.access.sessions import Sessions
from lambda_builder.access.shown import SESSION_COOKIE
from lambda_builder.builds import BuildState
from lambda_builder.devcluster import Fault
from tests.integration.service.conftest import BUILT, TYPE
from tests.waiting import wait_until

METHODS = {"get", "post", "put", "patch", "delete", "options"}
CANCEL = "network.notifi.lambda.build.cancel"
OPERATIONS = {
    "receiveEvents": ("send", "tenant"),
    "receiveEventsAtRoot": ("send", "tenant"),
    "eventOptions": ("send", "any"),
    "rootOptions": ("send", "any"),
    "listRejected": ("read", "any"),
    "getAudit": ("read", "any"),
    "getStats": ("read", "all"),
    "listBuilds": ("read", "any"),
    "listBuildsUpstream": ("read", "any"),
    "getBuild": ("read", "tenant"),
    "getBuildUpstream": ("read", "tenant"),
    "getLogs": ("read", "tenant"),
    "getProvenance": ("read", "tenant"),
    "cancelBuilds": ("steer", "any"),
    "retryBuilds": ("steer", "any"),
    "retryBuild": ("steer", "tenant"),
    "cancelBuildUpstream": ("steer", "tenant"),
    "cancelBuild": ("steer", "tenant"),
    "health": (None, "any"),
    "ready": (None, "any"),
    "metrics": ("metrics", "any"),
    "openapi": ("read", "any"),
    "showLogin": (None, "any"),
    "signIn": (None, "any"),
    "signOut": (None, "any"),
    "streamChanges": ("read", "all"),
    "showPage": ("read", "any"),
    "showPageOfBuild": ("read", "tenant"),
    "showPageOfFailures": ("read", "any"),
    "showPageOfRejected": ("read", "any"),
    "showPageOfDeadLetters": ("read", "any"),
    "showPageOfAudit": ("read", "any"),
    "askToCancel": ("steer", "any"),
    "askToRetry": ("steer", "any"),
    "cancelByForm": ("steer", "any"),
    "retryByForm": ("steer", "any"),
    "retryBuildByForm": ("steer", "tenant"),
    "cancelBuildByForm": ("steer", "tenant"),
    "pageFile": (None, "any"),
    "docs": ("read", "any"),
}
"""What each asks for, and of whom: the tenant that it is about, any tenant, or all of them."""
ALL = {"send": "*", "read": "*", "steer": "*", "metrics": "*"}
IDENTITIES = {
    "nobody": {},
    "guesser": {},
    "stranger": {},
    "scraper": {"metrics": "*"},
    "sender": {"send": "*"},
    "github": {"send": "a"},
    "reader": {"read": "a"},
    "viewer": {"read": "*"},
    "blind": {"steer": "a"},
    "helper": {"read": "*", "steer": "a"},
    "tenant": {"send": "a", "read": "a", "steer": "a"},
    "browser": {"send": "*", "read": "*", "steer": "a"},
    "admin": ALL,
}
TENANTS = ("a", "b")
GOOD = {
    *("sender", "reader", "viewer", "blind", "helper", "tenant", "admin", "scraper", "stranger"),
    "browser",
}
_IDS = itertools.count()


@pytest.fixture
def settings(tmp_path):
    path, secret = tmp_path / "auth.yaml", tmp_path / "secret"
    secret.write_text("hub-secret")
    known: list[dict] = [
        {"name": n, "token_sha256": [hashlib.sha256(f"{n}-token".encode()).hexdigest()]}
        for n in sorted(GOOD)
    ]
    known.append({"name": "github", "hmac": {"scheme": "github", "secret_file": str(secret)}})
    policies = [
        {"identities": [name], "actions": [action], "tenants": [tenant]}
        for name, may in IDENTITIES.items()
        for action, tenant in may.items()
    ]
    path.write_text(yaml.safe_dump({"identities": known, "policies": policies}))
    return {"auth_file": path}


def event(tenant, **changes):
    data = changes.pop("data", {"parser_id": f"p{next(_IDS)}", "third_party_id": tenant})
    fields = {"specversion": "1.0", "id": f"e{next(_IDS)}", "source": "s", "type": TYPE}
    return {**fields, "data": data, **changes}


def headers_of(identity, body=b""):
    if identity == "nobody":
        return {}
    if identity == "github":
        digest = hmac.new(b"hub-secret", body, "sha256").hexdigest()
        return {"X-Hub-Signature-256": f"sha256={digest}"}
    if identity == "browser":
        sessions = Sessions([hashlib.sha256(b"browser-token").hexdigest()])
        return {"Cookie": f"{SESSION_COOKIE}={sessions.begin('browser-token')}"}
    return {"Authorization": f"Bearer {identity}-token"}


def call(running, identity, method, path, *, sent=None, media="application/cloudevents+json", **q):
    body = b"" if sent is None else json.dumps(sent).encode()
    # Without a jar of its own, which would put aside the cookie that is sent.
    return running.app.test_client(use_cookies=False).open(
        path,
        method=method,
        data=body if sent is not None else None,
        headers=headers_of(identity, body),
        content_type=media if sent is not None else None,
        query_string=q,
    )


def expected(identity, action, about, tenant):
    """Return the status that refuses, or None where it may."""
    if action is None:
        return None
    may = IDENTITIES[identity]
    # A signature counts for what has a body that is signed: events.
    if identity in ("nobody", "guesser") or (identity == "github" and action != "send"):
        return 401
    if identity == "browser" and action == "send":  # no page sends events
        return 401
    if action not in may or (about == "all" and may[action] != "*"):
        return 403
    if about != "tenant":
        return None
    if action in ("read", "steer") and may.get("read") not in ("*", tenant):
        return 404
    return None if may[action] in ("*", tenant) else 403


def operations(document):
    found = [
        (method, path, operation["operationId"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    # What ends builds comes last.
    return sorted(found, key=lambda each: OPERATIONS[each[2]][0] == "steer")


def try_one(running, identity, method, path, operation, tenant, job):
    action, about = OPERATIONS[operation]
    if identity in ("github", "browser") and method == "options":
        return None, None  # nothing is signed, nothing is sent
    if operation == "signIn":
        return None, None  # by a token in a form
    sent = event(tenant) if (action, method) == ("send", "post") else None
    query = (
        {"dry_run": "true", "all": "true"} if operation in ("cancelBuilds", "retryBuilds") else {}
    )
    path = path.replace("{build_id}", job).replace("{name}", "page.css")
    answer = call(running, identity, method.upper(), path, sent=sent, **query)
    answer.close()
    wanted = expected(identity, action, about, tenant)
    is_refused = answer.status_code in (401, 403, 404) and answer.json["code"] != "no_provenance"
    got = answer.status_code if is_refused else None
    if operation.startswith(("showPage", "askTo")) and answer.headers.get("Location") == "/login":
        return wanted, 401  # told to a browser
    if got == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), operation
    return wanted, got if answer.status_code < 500 else answer.status_code


def test_every_identity_may_do_what_its_policies_allow_and_nothing_else(start, settings):
    running = start(**settings)
    document = call(running, "admin", "GET", "/openapi.json").json
    jobs = {}
    for tenant in TENANTS:
        answer = call(running, "admin", "POST", "/events", sent=event(tenant, id=f"first-{tenant}"))
        jobs[tenant] = answer.json["job_name"]
        running.wait_for(f"first-{tenant}", BuildState.RUNNING)
    wrong = []
    for (method, path, operation), identity, tenant in itertools.product(
        operations(document), IDENTITIES, TENANTS
    ):
        wanted, got = try_one(running, identity, method, path, operation, tenant, jobs[tenant])
        if wanted != got:
            wrong.append((identity, operation, tenant, wanted, got))
    # Only the first guesses are told that they are wrong.
    guesses = [each for each in wrong if each[0] == "guesser"]
    assert [each for each in wrong if each not in guesses] == []
    assert all(wanted == 401 and got is None for _, _, _, wanted, got in guesses)  # 429


def seen(running, identity, **query):
    answer = call(running, identity, "GET", "/async-jobs", **query)
    return {item["third_party_id"] for item in answer.json["items"]}


def test_what_may_not_be_read_is_in_no_list_no_count_and_no_refusal(start, settings):
    running = start(**settings)
    for tenant in TENANTS:
        sent = event(tenant, id=f"first-{tenant}", correlationid="shared")
        job = call(running, "admin", "POST", "/events", sent=sent).json["job_name"]
        running.wait_for("shared", *BUILT)
    assert seen(running, "viewer") == {"a", "b"}
    assert seen(running, "reader") == {"a"}
    assert seen(running, "reader", third_party_id="b") == set()
    assert seen(running, "reader", correlation_id="shared") == {"a"}
    for identity, count in (("admin", 2), ("tenant", 1), ("helper", 1), ("blind", 0)):
        answer = call(running, identity, "POST", "/async-jobs/cancel", dry_run="true", all="true")
        assert answer.json["matched"] == count, identity
    # Two builds share the ID, of which one is there for each of those that may read one.
    unknown = call(running, "reader", "GET", "/async-jobs/nowhere").json
    hidden = call(running, "reader", "GET", f"/async-jobs/{job}").json
    for answer in (unknown, hidden):
        del answer["correlation_id"]
    assert str(hidden).replace(job, "nowhere") == str(unknown)
    assert call(running, "reader", "GET", "/async-jobs/shared").json["third_party_id"] == "a"
    refused = call(running, "admin", "DELETE", "/async-jobs/shared")
    assert (refused.status_code, refused.json["code"]) == (409, "ambiguous")
    assert call(running, "tenant", "DELETE", "/async-jobs/shared").status_code == 200
    assert running.services.builds.get(job).state in BUILT


def test_a_batch_is_refused_whole_where_one_event_is_not_allowed(start, settings):
    running = start(**settings)
    batch = [event("a"), event("b"), event("a")]
    answer = call(
        running, "tenant", "POST", "/events", sent=batch, media="application/cloudevents-batch+json"
    )
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert running.stats()["accepted_total"] == 0
    kept = call(running, "tenant", "GET", "/events/rejected").json["items"]
    assert kept == []  # a part of it is of another
    assert len(call(running, "viewer", "GET", "/events/rejected").json["items"]) == 1


def test_a_signed_event_in_binary_mode_is_refused(start, settings):
    running = start(**settings)
    body = b'{"parser_id": "p", "third_party_id": "a"}'
    answer = running.http.post(
        "/events",
        data=body,
        headers={**headers_of("github", body), "Ce-Type": TYPE, "Ce-Id": "1", "Ce-Source": "s"},
        content_type="application/json",
    )
    assert (answer.status_code, answer.json["code"]) == (401, "unsigned_attributes")


def test_an_event_that_is_another_tenants_is_not_told_of(start, settings):
    running = start(**settings)
    first = call(running, "admin", "POST", "/events", sent=event("b", id="same"))
    answer = call(running, "tenant", "POST", "/events", sent=event("a", id="same"))
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert first.json["job_name"] not in answer.text
    assert call(running, "sender", "POST", "/events", sent=event("b", id="same")).status_code == 200


def test_a_cancel_event_reaches_only_builds_that_its_sender_may_send_for(start, settings):
    running = start(**settings)
    jobs = {}
    for tenant in TENANTS:
        sent = event(tenant, id=f"first-{tenant}", correlationid="shared")
        jobs[tenant] = call(running, "admin", "POST", "/events", sent=sent).json["job_name"]
    for data in ({"job_name": jobs["b"]}, {"correlation_id": "shared"}):
        sent = event("a", type=CANCEL, data=data)
        assert call(running, "tenant", "POST", "/events", sent=sent).status_code == 200
    named = event("a", type=CANCEL, data={"third_party_id": "b", "parser_id": "p"})
    assert call(running, "tenant", "POST", "/events", sent=named).status_code == 403
    state = lambda tenant: running.services.builds.get(jobs[tenant]).state  # noqa: E731
    wait_until(lambda: state("a") is BuildState.CANCELLED)
    assert state("b") is not BuildState.CANCELLED


def test_a_journal_keeps_whose_builds_a_command_may_mean(start, settings, tmp_path):
    running = start(**settings, journal_path=tmp_path / "journal.db")
    sent = event("a", type=CANCEL, data={"correlation_id": "not here"})
    assert call(running, "tenant", "POST", "/events", sent=sent).status_code == 200
    [command] = running.service._journal.commands()
    assert tuple(command.tenants) == ("a",)


def test_nobody_steers_a_service_that_is_read_only(start):
    running = start(read_only=True)
    job = running.post(1).json["job_name"]
    for method, path in (("DELETE", f"/async-jobs/{job}"), ("POST", "/async-jobs/retry")):
        answer = running.http.open(path, method=method)
        assert (answer.status_code, answer.json["code"]) == (403, "read_only")
    sent = event("a", type=CANCEL, data={"job_name": job})
    assert call(running, "nobody", "POST", "/events", sent=sent).json["code"] == "read_only"
    assert running.http.get(f"/async-jobs/{job}").status_code == 200


def test_a_page_of_another_site_steers_nothing_even_where_nobody_is_asked_for(start):
    running = start()
    answer = running.http.post(
        "/async-jobs/cancel?all=true", headers={"Origin": "https://evil.example"}
    )
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert running.http.post("/async-jobs/cancel?all=true").status_code == 200


# -- limits ----------------------------------------------------------------------------------------


def send(running, tenant, **changes):
    return call(running, "nobody", "POST", "/events", sent=event(tenant, **changes))


def test_a_tenant_over_its_rate_is_told_when_and_others_go_on(start):
    running = start(tenant_rate="0.01/2")
    first = send(running, "a", id="first")
    assert first.headers["RateLimit-Policy"] == '"tenant";q=2;w=200'
    assert first.headers["RateLimit"] == '"tenant";r=1;t=100'
    assert send(running, "a").status_code == 200
    answer = send(running, "a", id="again")
    assert (answer.status_code, answer.json["code"]) == (429, "tenant_limit")
    assert 95 <= int(answer.headers["Retry-After"]) <= 100
    assert answer.headers["RateLimit"].startswith('"tenant";r=0;t=')
    assert send(running, "b").status_code == 200
    # What is known already is no new build, and is neither refused nor counted.
    assert send(running, "a", id="first").json["status"] == "duplicate"
    bad = send(running, "a", data={"third_party_id": "a"})
    assert (bad.status_code, bad.headers["RateLimit-Policy"]) == (400, '"tenant";q=2;w=200')
    assert running.metric('rate_limited_total{scope="tenant"}') == 1


def test_all_together_have_a_rate_too(start):
    running = start(rate="0.01/2")
    codes = [send(running, tenant).status_code for tenant in "abc"]
    assert codes == [200, 200, 429]
    assert send(running, "d").json["code"] == "rate_limit"


@pytest.fixture
def stuck(start, cluster):
    """A service whose one worker holds a build of nobody's for long."""

    def make(**settings):
        cluster.add_fault(Fault("hang", verb="create", resource="jobs"))
        running = start(worker_count=1, worker_count_max=1, drain_seconds=0, **settings)
        send(running, "held")
        wait_until(lambda: running.stats()["busy_workers"] == 1)
        return running

    return make


def test_a_tenant_fills_no_more_of_the_queue_than_its_share(stuck):
    running = stuck(queue_size=8, tenant_queue_share=0.5)
    assert [send(running, "a", id=f"a{n}").status_code for n in range(5)] == [200] * 4 + [429]
    answer = send(running, "a")
    assert answer.json["code"] == "tenant_limit"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert send(running, "a", id="a0").json["status"] == "duplicate"
    assert [send(running, "b").status_code for _ in range(4)] == [200] * 4
    # Full is full: that comes before whose share it is.
    assert [send(running, tenant).json["code"] for tenant in "ac"] == ["queue_full"] * 2
    assert running.http.delete("/async-jobs/a0").status_code == 200
    assert send(running, "a").status_code == 200
    assert running.metric('rate_limited_total{scope="queue_share"}') == 2


def test_what_a_full_queue_refuses_counts_for_no_rate(stuck):
    running = stuck(queue_size=1, rate="0.01/3")
    assert send(running, "a", id="last").status_code == 200
    for _ in range(5):
        answer = send(running, "a")
        assert (answer.status_code, answer.json["code"]) == (503, "queue_full")
        assert answer.headers["RateLimit"].startswith('"service";r=1;')
    assert (
        running.http.delete(f"/async-jobs/{running.result('last').request.job_name}").status_code
        == 200
    )
    assert send(running, "a").status_code == 200
