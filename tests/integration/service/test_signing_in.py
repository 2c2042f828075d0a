"""A browser's session: from the form to a cookie that counts on every replica until it ends."""

from __future__ import annotations

import hashlib
import re

import pytest
import yaml

from lambda_builder.access.sessions import Sessions, _cipher
from lambda_builder.access.shown import SESSION_COOKIE, SESSION_SECONDS
from lambda_builder.builds import BuildState
from lambda_builder.web import gate
from tests.integration.service.conftest import BUILT

TOKEN = "a-token-that-nobody-guesses"
HASH = hashlib.sha256(TOKEN.encode()).hexdigest()
OTHER_SITE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
SAME_SITE = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


def write(path, hashes):
    known = [{"name": "ann", "token_sha256": hashes}, {"name": "anonymous"}]
    may = {"identities": ["ann"], "actions": ["send", "read", "steer"], "tenants": ["*"]}
    scrape = {"identities": ["anonymous"], "actions": ["metrics"]}
    path.write_text(yaml.safe_dump({"identities": known, "policies": [may, scrape]}))
    return path


@pytest.fixture
def running(start, tmp_path):
    return start(auth_file=write(tmp_path / "auth.yaml", [HASH]))


def sign_in(running, token=TOKEN, **headers):
    return running.http.post("/login", data={"token": token}, headers={**SAME_SITE, **headers})


def show(running, cookie, path="/async-jobs"):
    client = running.app.test_client(use_cookies=False)
    return client.get(path, headers={"Cookie": cookie})


def test_a_token_in_the_form_begins_a_session_that_reads_and_steers(running):
    assert running.http.get("/async-jobs").status_code == 401
    form = running.http.get("/login")
    assert (form.status_code, form.mimetype) == (200, "text/html")
    assert 'action="/login"' in form.text
    assert "default-src 'none'" in form.headers["Content-Security-Policy"]
    answer = sign_in(running)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert f"Max-Age={SESSION_SECONDS}" in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {*cookie.split("; ")}
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert running.http.get("/async-jobs").status_code == 200
    sent = running.http.delete("/async-jobs/nowhere", headers=SAME_SITE)
    assert (sent.status_code, sent.json["code"]) == (404, "not_found")
    assert running.http.get("/audit").json["items"][0]["identity"] == "ann"


def test_a_session_steers_from_the_same_origin_alone(running):
    headers = {"Authorization": f"Bearer {TOKEN}", "Ce-Id": "1", "Ce-Source": "s"}
    headers["Ce-Type"] = "network.notifi.lambda.build.start"
    job = running.http.post("/events", json={"parser_id": "p"}, headers=headers).json["job_name"]
    running.wait_for(1, *BUILT)
    sign_in(running)
    for kind in ("cross-site", "same-site"):
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": kind}
        assert running.http.delete(f"/async-jobs/{job}", headers=headers).status_code == 403
    assert running.http.delete(f"/async-jobs/{job}", headers=SAME_SITE).status_code == 200


def test_a_session_sends_no_events(running):
    sign_in(running)
    answer = running.post(1)
    assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")


def test_another_site_signs_nobody_in_or_out(running):
    assert sign_in(running, **OTHER_SITE).status_code == 403
    sign_in(running)
    assert running.http.post("/logout", headers=OTHER_SITE).status_code == 403
    assert running.http.get("/async-jobs").status_code == 200


def test_signing_out_forgets_the_cookie(running):
    sign_in(running)
    answer = running.http.post("/logout", headers=SAME_SITE)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert running.http.get("/async-jobs").status_code == 401


def test_failed_tries_are_slowed_down_and_the_right_token_never_waits(running):
    codes = [sign_in(running, f"guess-{n}").status_code for n in range(12)]
    assert codes == [401] * 10 + [429] * 2
    last = sign_in(running, "guess-<b>")
    assert int(last.headers["Retry-After"]) > 0
    assert "too many failed tries" in last.text
    assert "guess" not in last.text
    assert running.metric('auth_denied_total{reason="unknown"}') == 13
    assert sign_in(running).status_code == 303


@pytest.mark.parametrize("data", [{}, {"token": ""}, {"token": "x" * 2000}])
def test_a_form_without_a_token_of_somebody_is_shown_again(running, data):
    answer = running.http.post("/login", data=data, headers=SAME_SITE)
    assert (answer.status_code, answer.mimetype) == (401, "text/html")
    assert "Set-Cookie" not in answer.headers
    huge = running.http.post("/login", data={"token": "x" * 10_000}, headers=SAME_SITE)
    assert (huge.status_code, huge.json["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("headers", "secure"),
    [
        ({"Origin": "https://localhost"}, True),
        ({"X-Forwarded-Proto": "https"}, True),
        ({"Forwarded": 'for=192.0.2.1;proto="https"'}, True),
        ({"X-Forwarded-Proto": "http"}, False),
    ],
)
def test_behind_tls_the_cookie_is_secure(start, tmp_path, headers, secure):
    path = write(tmp_path / "auth.yaml", [HASH])
    running = start(auth_file=path, trusted_proxies=("127.0.0.0/8",))
    answer = running.http.post("/login", data={"token": TOKEN}, headers=headers)
    assert ("Secure" in answer.headers["Set-Cookie"].split("; ")) is secure


def test_the_cookie_counts_on_every_replica_and_ends_with_its_token(start, tmp_path):
    path = write(tmp_path / "auth.yaml", ["0" * 64, HASH])
    one, other = start(auth_file=path), start(auth_file=path)
    cookie = sign_in(one).headers["Set-Cookie"].partition(";")[0]
    get = lambda: show(other, cookie)  # noqa: E731
    assert get().status_code == 200
    write(path, ["0" * 64])
    other.services.access._directory.look()
    answer = get()
    assert (answer.status_code, answer.json["detail"]) == (
        *(401, "the session has ended, please sign in again"),
    )


def test_whoever_must_sign_in_is_sent_from_a_page_to_the_form_and_loses_an_ended_session(running):
    view = running.app.view_functions["openapi"]
    assert show(running, f"{SESSION_COOKIE}=gone", "/openapi.json").status_code == 401
    gate.is_page(view)
    answer = show(running, f"{SESSION_COOKIE}=gone", "/openapi.json")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert f"{SESSION_COOKIE}=;" in answer.headers["Set-Cookie"]
    # A link from another site comes without the cookie, which is still good.
    assert "Set-Cookie" not in running.app.test_client().get("/openapi.json").headers
    sign_in(running)
    assert running.http.get("/openapi.json").status_code == 200


def test_a_service_that_asks_nobody_has_no_form(start):
    answer = start().http.get("/login")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_a_followed_log_ends_soon_after_its_token_is_gone_and_not_before(
    start, tmp_path, monkeypatch
):
    monkeypatch.setattr("lambda_builder.web.log_stream._ASK_SECONDS", 0.0)
    path = write(tmp_path / "auth.yaml", [HASH])
    running = start(auth_file=path)
    mine = {"Authorization": f"Bearer {TOKEN}"}
    sent = {**mine, "Ce-Id": "1", "Ce-Source": "s", "Ce-Type": "network.notifi.lambda.build.start"}
    job = running.http.post("/events", json={"parser_id": "p"}, headers=sent).json["job_name"]
    running.wait_for(1, BuildState.RUNNING)
    answer = running.http.get(f"/async-jobs/{job}/logs?follow=true", headers=mine)
    lines = iter(answer.response)
    read = b""
    while read.count(b"\n") < 2:
        read += next(lines)
    write(path, ["0" * 64])
    running.services.access._directory.look()
    assert b"could not be read further" not in read
    assert b"".join(lines).endswith(b"[the log could not be read further]\n")
    answer.close()
    assert running.http.get(f"/async-jobs/{job}", headers=mine).status_code == 401


# -- the cookie itself -----------------------------------------------------------------------------


def test_a_session_ends_after_its_time_and_no_cookie_is_like_another():
    now = [1_000_000.0]
    sessions = Sessions([HASH], clock=lambda: now[0])
    first, second = sessions.begin(TOKEN), sessions.begin(TOKEN)
    assert first != second
    assert first is not None
    now[0] += SESSION_SECONDS
    assert sessions.token_of(first) == TOKEN
    now[0] += 1
    assert sessions.token_of(first) is None


def test_whoever_knows_the_hashes_alone_can_make_no_cookie(running):
    name, cipher = _cipher(HASH)
    for content in (HASH, "ann", ""):
        forged = f"{name}.{cipher.encrypt(content.encode()).decode()}"
        assert show(running, f"{SESSION_COOKIE}={forged}").status_code == 401
    good = f"{name}.{cipher.encrypt(TOKEN.encode()).decode()}"
    assert show(running, f"{SESSION_COOKIE}={good}").status_code == 200


def test_garbage_is_no_session_and_never_crashes():
    sessions = Sessions([HASH])
    good = sessions.begin(TOKEN)
    assert good is not None
    name, _, encrypted = good.partition(".")
    cut = (name, f"{name}.", f"{name}.{encrypted[:-5]}", f"x.{encrypted}")
    for bad in ("", ".", f"{name}.é", *cut):
        assert sessions.token_of(bad) is None, bad


def test_the_page_leads_to_the_form_and_says_who_signed_in(running):
    browser = {"Accept": "text/html,*/*;q=0.8"}
    asked = running.http.get("/", headers=browser)
    assert (asked.status_code, asked.headers["Location"]) == (303, "/login")
    form = running.http.get("/login")
    assert "/page/audit" not in form.text
    assert "Sign out" not in form.text
    sign_in(running)
    page = running.http.get("/", headers=browser)
    assert page.status_code == 200
    assert "/page/audit" in page.text
    assert re.search(r"ann</span>\s*<button[^>]*>Sign out", page.text)


def test_whoever_reads_without_signing_in_finds_the_form_from_every_page(start, tmp_path):
    path = tmp_path / "auth.yaml"
    identities = [{"name": "ann", "token_sha256": [HASH]}, {"name": "anonymous"}]
    policies = [
        {"identities": ["anonymous"], "actions": ["read"], "tenants": ["*"]},
        {"identities": ["ann"], "actions": ["read", "steer"], "tenants": ["*"]},
    ]
    path.write_text(yaml.safe_dump({"identities": identities, "policies": policies}))
    running = start(auth_file=path)
    link = re.compile('<a [^>]*href="/login">Sign in</a>')
    for page in ("/", "/page/failures", "/page/audit"):
        assert link.search(running.http.get(page).text), page
    assert not link.search(running.http.get("/login").text)
    sign_in(running)
    assert not link.search(running.http.get("/").text)


def test_whoever_reads_one_tenants_builds_sees_no_counts_and_no_others(start, tmp_path):
    path = tmp_path / "auth.yaml"
    identities = [
        {"name": "ann", "token_sha256": [HASH]},
        {"name": "anonymous"},
    ]
    policies = [
        {"identities": ["ann"], "actions": ["read", "steer"], "tenants": ["mine"]},
        {"identities": ["anonymous"], "actions": ["send"], "tenants": ["*"]},
    ]
    path.write_text(yaml.safe_dump({"identities": identities, "policies": policies}))
    running = start(auth_file=path)
    names = {
        tenant: running.post(tenant, third_party_id=tenant).json["job_name"]
        for tenant in ("mine", "theirs")
    }
    for tenant in names:
        running.wait_for(tenant, *BUILT)
    sign_in(running)
    page = running.http.get("/").text
    assert names["mine"] in page
    assert "theirs" not in page
    assert "Queue and workers" not in page
    assert running.http.get(f"/page/builds/{names['theirs']}").status_code == 404
    assert running.http.get("/async-jobs/changes").status_code == 403
    assert "Cancel 1 build?" in running.http.get("/page/cancel").text
