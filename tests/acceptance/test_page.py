"""The operations page in a real browser: Debian's chromium, against the service under gunicorn."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.processes import BUILD_TYPE, ClusterProcess, ServiceProcess
from tests.programs import needs
from tests.waiting import wait_until

pytestmark = needs("chromium")

PAGES = (
    "/?third_party_id=bad&third_party_id=",
    "/page/failures",
    "/page/rejected",
    "/page/dead-letters",
    "/page/audit",
    "/page/retry?state=failed",
    "/page/builds/nowhere",
)
DETAILS = ("", "?show=event", "?show=job", "?show=provenance")
HARM = "\"'><img src=x onerror=document.title=1><script>document.title=2</script>{{7*7}}"
FAULTS: tuple[dict[str, Any], ...] = (
    {
        "kind": "fail",
        "name_prefix": "build-once",
        "message": "error building image: no",
        "times": 1,
    },
    {
        "kind": "fail",
        "name_prefix": "build-bulk",
        "message": "error building image: no",
        "times": 3,
    },
    {"kind": "fail", "name_prefix": "build-bad", "message": "error building image: no such step"},
    {"kind": "image_pull", "name_prefix": "build-held"},
    {"kind": "image_pull", "name_prefix": "build-pull"},
)
OF_COLOURS = ("color-contrast", "link-in-text-block")
AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


class House:
    """The service, and what a test does to it without a browser."""

    def __init__(self, service: ServiceProcess, kubeconfig: Path) -> None:
        self.service = service
        self.kubeconfig = kubeconfig
        self.url = service.url

    def send(self, third_party: str, parser: str, **more: Any) -> str:
        """Send an event; returns the Job's name."""
        answer = self.service.post(f"{third_party}-{parser}", third_party_id=third_party, **more,
                                   parser_id=parser)  # fmt: skip
        assert answer.status_code == 200, answer.text
        name: str = answer.json()["job_name"]
        return name

    def wait_for(self, name: str, *states: str) -> None:
        """Wait until a build is in one of these states."""
        state = lambda: self.service.get(f"/async-jobs/{name}").json()["state"]  # noqa: E731
        wait_until(lambda: state() in states, lambda: f"{name} to be {states}, is {state()}", 20)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("page")
    with ExitStack() as stack:
        options = ("--run-seconds", "0.8", "--pending-seconds", "0.1")
        cluster = stack.enter_context(ClusterProcess(folder, *options))
        for fault in FAULTS:
            cluster.add_fault(**fault)
        settings = {"streams_max": 8, "queue_size": 200}
        service = stack.enter_context(ServiceProcess(cluster.kubeconfig, folder, **settings))
        yield House(service, cluster.kubeconfig)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser, house: House) -> Iterator[Callable[..., Page]]:
    """Open a page; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_page(path: str, **options: Any) -> Page:
            context = browser.new_context(base_url=house.url, **options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(10_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "console",
                lambda line: (
                    complaints.append(line.text)
                    if line.type == "error" and "Failed to load resource" not in line.text
                    else None
                ),
            )
            page.on("dialog", lambda dialog: complaints.append(dialog.message))
            page.goto(path)
            return page

        yield open_page
    assert complaints == []


def test_a_build_is_seen_without_loading_again_and_followed_to_its_end(
    house: House, visit: Callable[..., Page]
) -> None:
    page = visit("/")
    expect(page.locator("#live-text")).to_have_text("Live")
    page.evaluate("window.same = true")
    name = house.send("seen", "parser")
    row = page.locator("tr", has_text=name)
    expect(row).to_be_visible()
    expect(row.locator(".state")).to_have_text("succeeded")
    expect(page.locator(".figures")).to_contain_text("accepted")
    assert page.evaluate("window.same")  # it was not loaded again
    row.get_by_role("link", name=name).click()
    expect(page.locator("h1")).to_have_text(name)
    expect(page.locator("#log-lines")).to_contain_text("Pushing image")
    expect(page.locator("#log-state")).to_have_text("The log ends here.")
    for step in ("In the queue", "Job made, not running", "Running"):
        expect(page.locator(".waterfall")).to_contain_text(step)


def test_a_paused_page_does_not_change_until_it_goes_on(
    house: House, visit: Callable[..., Page]
) -> None:
    page = visit("/")
    expect(page.locator("#live-text")).to_have_text("Live")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live-text")).to_have_text("Paused")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    house.wait_for(house.send("paused", "parser"), "succeeded")
    page.wait_for_timeout(1500)  # longer than news is gathered for
    assert asked == []
    expect(page.locator("#list")).not_to_contain_text("build-paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#list")).to_contain_text("build-paused")


def test_a_page_that_gets_no_stream_asks_instead(house: House, visit: Callable[..., Page]) -> None:
    page = visit("about:blank")
    page.route("**/async-jobs/changes", lambda route: route.fulfill(status=503))
    page.clock.install()
    page.goto("/")
    expect(page.locator("#live-text")).to_have_text("Every 5 s")
    name = house.send("polled", "parser")
    house.wait_for(name, "succeeded")
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status))

    def asks_until(condition: Callable[[], bool], what: str) -> None:
        def asked() -> bool:
            page.clock.run_for(6000)
            page.wait_for_timeout(100)
            return condition()

        wait_until(asked, what)

    # The service makes a page once a second at most, and may have made this one before.
    asks_until(lambda: name in page.locator("#list").inner_text(), "the build to be shown")
    answers.clear()
    asks_until(lambda: 304 in answers, "nothing to change, so that the page is not sent again")


def test_a_build_is_cancelled_after_a_second_click(
    house: House, visit: Callable[..., Page]
) -> None:
    name = house.send("held", "one")
    house.wait_for(name, "created")
    page = visit(f"/page/builds/{name}")
    button = page.get_by_role("button", name="Cancel this build")
    expect(button).to_be_hidden()
    page.locator("summary", has_text="Cancel").click()
    button.click()
    expect(page.locator("#state")).to_have_text("cancelled")
    expect(page.locator("summary", has_text="Cancel")).to_have_count(0)
    page.goto("/page/audit")
    expect(page.locator("tr", has_text=name)).to_contain_text("cancel")


def test_a_build_that_failed_says_what_to_do_and_is_retried(
    house: House, visit: Callable[..., Page]
) -> None:
    name = house.send("once", "more")
    house.wait_for(name, "failed")
    page = visit(f"/page/builds/{name}")
    expect(page.locator(".advice")).to_contain_text("What to do:")
    expect(page.locator(".error")).to_contain_text("error building image: no")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#state")).to_have_text("succeeded")


def test_all_that_match_are_counted_before_they_are_retried(
    house: House, visit: Callable[..., Page]
) -> None:
    names = [house.send("bulk", f"p{number}") for number in range(3)]
    for name in names:
        house.wait_for(name, "failed")
    page = visit("/page/failures")
    page.locator(".groups li", has_text="error building image: no").first.get_by_role(
        "link", name="Show"
    ).click()
    expect(page.locator("#list")).to_contain_text(names[0])
    page.goto("/?third_party_id=bulk")
    page.get_by_role("link", name="Retry all that match").click()
    expect(page.locator("h1")).to_have_text("Retry 3 builds?")
    assert house.service.get(f"/async-jobs/{names[0]}").json()["state"] == "failed"
    page.get_by_role("button", name="Retry 3 builds").click()
    expect(page.locator("h1")).to_have_text("3 of 3 go again")
    page.get_by_role("link", name="Back to the list").click()
    assert page.url.endswith("/?third_party_id=bulk")
    for name in names:
        expect(page.locator("tr", has_text=name).locator(".state")).to_have_text("succeeded")


def test_the_list_is_searched_filtered_and_has_a_second_page(
    house: House, visit: Callable[..., Page]
) -> None:
    for number in range(53):
        house.send("many", f"n{number}")
    house.wait_for(house.send("many", "last"), "succeeded")
    house.wait_for(house.send("bad", "step"), "failed")
    page = visit("/?third_party_id=many")
    expect(page.locator("tbody tr[data-state]")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("tbody tr[data-state]")).to_have_count(4)
    page.get_by_role("link", name="Newest").click()
    page.get_by_role("searchbox").fill("many-n17-")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr[data-state]")).to_have_count(1)
    assert "q=many-n17-" in page.url
    page.get_by_role("link", name="Clear").click()
    page.get_by_label("failed", exact=True).check()
    page.get_by_text("More filters").click()
    page.get_by_label("Third party").fill("bad")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr[data-state]")).to_have_count(1)
    expect(page.get_by_label("failed", exact=True)).to_be_checked()
    expect(page.get_by_label("Third party")).to_have_value("bad")
    page.goto("/?since=2030-01-01T00:00")
    expect(page.locator("#list")).to_contain_text("No build matches.")


def test_a_log_is_searched(house: House, visit: Callable[..., Page]) -> None:
    name = house.send("log", "parser")
    house.wait_for(name, "succeeded")
    page = visit(f"/page/builds/{name}")
    expect(page.locator("#log-state")).to_have_text("The log ends here.")
    page.get_by_label("Search the log").fill("SNAPSHOT")
    expect(page.locator("#log-count")).to_have_text("2 lines")
    page.keyboard.press("Enter")
    expect(page.locator("#log-count")).to_have_text("1 of 2")
    page.get_by_role("button", name="Next match").click()
    expect(page.locator("#log-count")).to_have_text("2 of 2")
    expect(page.locator(".hit.at")).to_contain_text("Taking snapshot of full filesystem")
    page.get_by_label("only matches").check()
    expect(page.locator("#log-lines div:visible")).to_have_count(2)
    page.get_by_label("Search the log").fill("nowhere to be found")
    expect(page.locator("#log-count")).to_have_text("no match")


def test_everything_can_be_done_without_javascript(
    house: House, visit: Callable[..., Page]
) -> None:
    name = house.send("held", "plain")
    house.wait_for(name, "created")
    page = visit("/", java_script_enabled=False)
    expect(page.locator("#live")).to_be_hidden()
    page.get_by_role("searchbox").fill(name)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("link", name="The log as plain text")).to_be_visible()
    page.get_by_role("link", name="Job", exact=True).click()
    expect(page.locator(".source")).to_contain_text("kind: Job")
    page.locator("summary", has_text="Cancel").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Cancel this build").click()

    def is_cancelled() -> bool:
        page.reload()
        return page.locator("#state").inner_text() == "cancelled"

    wait_until(is_cancelled, "the watch to see its Job gone", every=0.2)


def test_the_keyboard_is_enough(house: House, visit: Callable[..., Page]) -> None:
    name = house.send("keys", "parser")
    house.wait_for(name, "succeeded")
    page = visit("/")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "q":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q="))
    page.get_by_role("link", name=name).focus()
    house.send("keys", "another")  # focus stays where it is, whatever comes
    page.wait_for_timeout(1300)
    expect(page.get_by_role("link", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(name)


@pytest.fixture(scope="module")
def lived_in(house: House) -> list[str]:
    """Return the pages of a service that has something to show on each."""
    for parser in ("a", "b"):
        house.wait_for(house.send("bad", parser), "failed")
    pulled = house.send("pull", "parser")
    house.wait_for(pulled, "created")
    assert house.service.post("refused", parser_id="").status_code == 400
    failed = house.send("bad", "a")
    return [*PAGES, *(f"/page/builds/{failed}{details}" for details in ("", "?show=job"))]


def violations(page: Page, *rules: str) -> list[Any]:
    """Return what axe finds wrong with the page as it is, by all of its rules or by these."""
    asked = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    found = page.evaluate("asked => axe.run(asked)", asked)["violations"]
    return [
        (page.url, each["id"], each["help"], [node["html"][:200] for node in each["nodes"]])
        for each in found
    ]


def test_no_page_has_what_keeps_people_out_in_light_or_dark(
    visit: Callable[..., Page], lived_in: list[str]
) -> None:
    page = visit("about:blank", color_scheme="light", reduced_motion="reduce")
    page.add_init_script(AXE)  # from outside of the page, which lets nothing in
    found = []
    for path in lived_in:
        page.goto(path)
        if path.startswith("/page/builds") and "show" not in path and "nowhere" not in path:
            expect(page.locator("#log-state")).to_have_text("The log ends here.")
        found += violations(page)
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        found += violations(page, *OF_COLOURS)  # nothing else of the page changes
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert found == []


def test_a_browser_signs_in_and_out(house: House, browser: Browser, tmp_path: Path) -> None:
    token = "a-token-that-nobody-guesses"
    hashed = hashlib.sha256(token.encode()).hexdigest()
    known = {
        "identities": [{"name": "ann", "token_sha256": [hashed]}],
        "policies": [{"identities": ["ann"], "actions": ["read", "steer"], "tenants": ["*"]}],
    }
    (tmp_path / "auth.yaml").write_text(yaml.safe_dump(known))
    settings = {"auth_file": tmp_path / "auth.yaml"}
    with (
        ServiceProcess(house.kubeconfig, tmp_path, **settings) as service,
        closing(browser.new_page(base_url=service.url)) as page,
    ):
        page.add_init_script(AXE)
        page.goto("/page/audit")
        assert page.url.endswith("/login")
        assert violations(page) == []
        page.get_by_label("Token").fill("another")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("these credentials are not known")
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        expect(page.locator("#live-text")).to_have_text("Live")
        expect(page.locator(".account")).to_contain_text("ann")
        assert violations(page) == []
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("h1")).to_have_text("Sign in")


def test_no_page_is_wider_than_a_phone(visit: Callable[..., Page], lived_in: list[str]) -> None:
    page = visit("about:blank", viewport={"width": 360, "height": 740})
    wide = []
    for path in lived_in:
        page.goto(path)
        if page.evaluate("document.documentElement.scrollWidth") > 360:
            wide.append(path)
    assert wide == []


def test_dark_is_dark_and_light_is_light(visit: Callable[..., Page]) -> None:
    colours = [
        visit("/", color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    light, dark = ([int(part) for part in re.findall(r"\d+", colour)[:3]] for colour in colours)
    assert min(light) > 200
    assert max(dark) < 60


def test_what_an_event_brings_is_shown_as_text(house: House, visit: Callable[..., Page]) -> None:
    event = {
        "specversion": "1.0",
        "id": HARM,
        "source": HARM,
        "type": BUILD_TYPE,
        "correlationid": HARM,
        "data": {
            **dict.fromkeys(("parser_id", "third_party_id", "correlation_id", "runtime"), HARM),
            "context_url": f"s3://bucket/{HARM}",
            "image": "registry.example/x:1",
            "build_args": {HARM: HARM},
            "other": HARM,
        },
    }
    media = {"Content-Type": "application/cloudevents+json"}
    sent = requests.post(f"{house.url}/events", json.dumps(event), headers=media, timeout=10)
    assert sent.status_code == 200, sent.text
    name = sent.json()["job_name"]
    refused = {**event, "id": f"{HARM}2", "data": {HARM: HARM, "parser_id": {HARM: HARM}}}
    answer = requests.post(f"{house.url}/events", json.dumps(refused), headers=media, timeout=10)
    assert answer.status_code == 400
    page = visit("/")

    def shows_it() -> bool:
        page.reload()
        return name in page.content()

    wait_until(shows_it, "a page that was made after the event", every=0.2)
    for path in (
        *("/", "/page/rejected", "/page/failures", "/page/dead-letters"),
        *(f"/page/builds/{name}{details}" for details in DETAILS),
        f"/page/retry?q={HARM}&third_party_id={HARM}",
        f"/?q={HARM}&third_party_id={HARM}&parser_id={HARM}&correlation_id={HARM}",
        f"/page/builds/{HARM}",
    ):
        answered = page.goto(path)
        assert answered is not None
        assert "script-src 'self'" in answered.headers["content-security-policy"], path
        assert "unsafe" not in answered.headers["content-security-policy"]
        assert page.locator("img[src=x], main script").count() == 0, path
        assert "lambda-builder" in page.title(), path
        if path not in ("/page/failures", "/page/dead-letters", f"/page/builds/{name}"):
            assert "onerror=" in page.content(), path
            assert "49" not in page.locator(".id").all_inner_texts(), path


def test_what_a_page_loads_is_small_and_from_the_service_alone(
    house: House, visit: Callable[..., Page]
) -> None:
    page = visit("about:blank")
    sizes: dict[str, int] = {}
    page.on(
        "response",
        lambda answer: (
            None
            if "changes" in answer.url or 300 <= answer.status < 400  # which have no body
            else sizes.update({answer.url: len(answer.body())})
        ),
    )
    name = house.send("log", "parser")
    page.goto(f"/page/builds/{name}")
    expect(page.locator("#live-text")).to_have_text("Live")
    loaded = {url: size for url, size in sizes.items() if "/static/" in url}
    assert all(url.startswith(house.url) for url in sizes)
    assert len(loaded) == 4
    assert sum(loaded.values()) < 60_000
