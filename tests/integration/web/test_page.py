"""The operations page as HTML: what it shows to whom, and what its answers promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lambda_builder.page
from lambda_builder.builds import BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.page import kept as kept_module
from lambda_builder.page.rendering import FILES

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ("/", "/page/failures", "/page/rejected", "/page/dead-letters", "/page/audit",
         "/page/builds/order-7", "/page/retry", "/page/cancel")  # fmt: skip


@pytest.fixture
def known(build_house, make_result):
    def make(state=BuildState.RUNNING, **settings):
        house = build_house(**settings)
        house.directory.builds["order-7"] = make_result(state=state)
        return house

    return make


@pytest.mark.parametrize("path", PAGES)
def test_every_page_lets_the_browser_load_nothing_from_elsewhere_and_run_nothing_inline(
    known, path
):
    answer = known().client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert not re.search(r'\son\w+="|\sstyle="|<style|javascript:', answer.text)
    for tag in re.findall(r"<script[^>]*>[^<]*", answer.text):
        assert re.fullmatch(r'<script src="/page/static/[^"]+" defer>', tag)
    loaded = re.findall(r'(?:src|href)="(/page/static/[^"]+)"', answer.text)
    assert loaded


def test_what_pages_load_is_there_may_be_kept_for_ever_and_is_small(known):
    house, size = known(), 0
    for name, kind in FILES.items():
        answer = house.client.get(f"/page/static/{name}")
        assert answer.headers["Content-Type"] == kind
        assert "immutable" in answer.headers["Cache-Control"]
        size += len(answer.data)
    assert size < 60_000
    folder = Path(lambda_builder.page.__path__[0], "static")
    assert {path.name for path in folder.iterdir()} == set(FILES)
    for name in ("../rendering.py", "base.html", ""):
        assert house.client.get(f"/page/static/{name}").status_code == 404


@pytest.mark.parametrize("path", PAGES[:6])
def test_a_page_that_shows_the_same_is_not_sent_again(known, path):
    house = known()
    first = house.client.get(path)
    tag = first.headers["ETag"]
    again = house.client.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    other = house.client.get(path, headers={"If-None-Match": 'W/"other"'})
    assert other.status_code == 200


def test_a_page_is_another_for_whoever_filters_otherwise(known):
    house = known()
    tags = {house.client.get(f"/?q={q}").headers["ETag"] for q in ("a", "b", "a")}
    assert len(tags) == 2


def test_filters_are_those_of_the_api_and_times_are_utc(known):
    house = known()
    house.client.get("/?state=failed&state=dead&q=x&since=2026-11-24T06:00&cursor=c")
    [wanted, limit, cursor] = next(a[1] for a in house.directory.asked if a[0] == "list")
    assert wanted.states == {BuildState.FAILED, BuildState.DEAD}
    assert (wanted.q, wanted.since, limit, cursor) == ("x", 1_795_500_000.0, 50, "c")
    refused = house.client.get("/?state=odd&since=never", headers=BROWSER)
    assert refused.status_code == 400
    assert "state must be one of" in refused.text
    assert "since must be a time" in refused.text


def test_an_error_is_a_page_for_a_browser_and_a_problem_for_all_others(known):
    house = known()
    page = house.client.get("/page/builds/nowhere", headers=BROWSER)
    assert (page.status_code, page.headers["Content-Type"][:9]) == (404, "text/html")
    assert "no build &#39;nowhere&#39;" in page.text
    assert "Content-Security-Policy" in page.headers
    problem = house.client.get("/page/builds/nowhere")
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert problem.json["code"] == "not_found"
    house.directory.refusal = Refused(RefusalCode.KUBERNETES_UNAVAILABLE, "away", retry_after=7)
    away = house.client.get("/page/builds/x", headers=BROWSER)
    assert (away.status_code, away.headers["Retry-After"]) == (503, "7")


def test_what_may_be_done_to_a_build_depends_on_its_state(known):
    for state, cancel, retry in (
        (BuildState.RUNNING, True, False),
        (BuildState.FAILED, False, True),
        (BuildState.SUCCEEDED, False, False),
    ):
        text = known(state).client.get("/page/builds/order-7").text
        assert ("/cancel" in text, "/retry" in text) == (cancel, retry), state


@pytest.mark.parametrize("state", [BuildState.RUNNING, BuildState.FAILED])
def test_a_page_that_is_read_only_hides_what_the_server_refuses(known, state):
    house = known(state, read_only=True)
    for path in PAGES[:6]:
        text = house.client.get(path).text
        assert "/cancel" not in text
        assert "/retry" not in text
        assert "Read only" in text
    for path in ("/page/cancel?all=true", "/page/retry?all=true", "/page/builds/order-7/cancel"):
        answer = house.client.post(path)
        assert (answer.status_code, answer.json["code"]) == (403, "read_only")
    assert house.client.get("/page/retry", headers=BROWSER).status_code == 403
    assert all(asked[0] in ("get", "list") for asked in house.directory.asked)


def test_forms_of_another_site_do_nothing(known):
    house = known()
    for path in ("/page/cancel?all=true", "/page/builds/order-7/cancel"):
        answer = house.client.post(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert house.directory.asked == []


def test_a_build_that_was_steered_is_shown_by_another_request(known):
    house = known(BuildState.FAILED)
    answer = house.client.post("/page/builds/order-7/retry")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/page/builds/build-customer-1-parser-1-5377b83a48"
    assert ("retry", "order-7") in house.directory.asked


def test_nothing_is_done_to_all_builds_unless_all_is_said(known):
    house = known()
    assert house.client.get("/page/cancel").status_code == 200
    answer = house.client.post("/page/cancel")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (400, "all")
    done = house.client.post("/page/cancel?all=true")
    assert "1 of 1 cancelled" in done.text
    steered = [asked[1] for asked in house.directory.asked if asked[0] == "cancel"]
    assert [dry_run for _, dry_run in steered] == [True, False]


def test_pages_being_made_take_no_more_threads_than_they_may(known, monkeypatch):
    monkeypatch.setattr(kept_module, "_SECONDS", 60.0)
    house = known(http_threads=4)
    budget = house.app.extensions["lambda_builder"].threads
    kept = house.client.get("/").headers["ETag"]
    with budget.pages.take():
        refused = house.client.get("/?q=other", headers=BROWSER)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        # What is kept costs next to nothing, and needs no place.
        assert house.client.get("/", headers={"If-None-Match": kept}).status_code == 304
