"""``GET /docs``: all of the OpenAPI document, as a page that needs nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from lambda_builder.web import docs

METHODS = ("get", "post", "delete", "options")


class Parsed(HTMLParser):
    """A page's elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


@pytest.fixture
def answer(house):
    return house.client.get("/docs")


@pytest.fixture
def page(answer):
    assert answer.content_type == "text/html; charset=utf-8"
    return Parsed(answer.text)


@pytest.fixture
def document(house):
    return house.client.get("/openapi.json").json


def test_every_operation_and_every_shape_is_on_the_page(page, document):
    shown = set(page.values("id"))
    for path, item in document["paths"].items():
        assert path in page.text
        shown_here = {item[method]["operationId"] for method in METHODS if method in item}
        assert shown_here <= shown, path
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= shown
    for answer in document["components"]["responses"].values():
        for code in re.findall(r"\* `(\w+)`:", answer["description"]):
            assert code in page.text


def test_every_link_of_the_page_leads_to_a_place_on_it(page):
    targets = page.values("id")
    assert len(targets) == len(set(targets))
    for link in page.values("href"):
        assert link == "openapi.json" or link.removeprefix("#") in targets, link


def test_the_page_needs_nothing_that_its_strict_policy_forbids(answer, page):
    policy = dict(
        directive.split(" ", 1)
        for directive in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy.pop("default-src") == "'none'"
    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.pop("style-src") == f"'sha256-{digest}'"
    assert set(policy.values()) == {"'none'"}
    assert "url(" not in style
    assert "@import" not in style
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "form", "object", "base"}
    attributes = {name for _, given in page.elements for name in given}
    assert not {name for name in attributes if name == "style" or name.startswith("on")}


def test_what_the_document_says_is_text_on_the_page(document):
    document["info"]["title"] = "<script>alert(1)</script>"
    document["paths"]["/health"]["get"]["summary"] = "`<b>` & <i onclick='x'>"
    document["components"]["schemas"]["Build"]["properties"]["image"]["description"] = "<u>`<u>`"
    tags = {tag for tag, _ in Parsed(docs.page(document).text).elements}
    assert not tags & {"script", "b", "i", "u"}


def test_a_command_is_shown_that_calls_each_operation(page):
    shown = page.text
    assert "curl http://localhost:8080/async-jobs/stats\n" in shown
    assert "curl -X DELETE http://localhost:8080/async-jobs/build-customer-1-" in shown
    assert "curl http://localhost:8080/events \\\n  -H 'Content-Type: application/clo" in shown
