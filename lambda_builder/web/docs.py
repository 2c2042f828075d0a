"""``GET /docs``: the OpenAPI document as one page for people.

Without scripts, and with nothing from elsewhere: its style is in the page, and the policy names the
style's hash (https://www.w3.org/TR/CSP3/#grammardef-hash-source).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

_Json = Mapping[str, Any]

_METHODS = ("get", "post", "delete", "options")
_CODE = re.compile(r"``?([^`]+)``?")
_TOKEN = re.compile(r"\{(\w+)\}")
_STYLE = re.compile(r"(?<=<style>)(.*?)(?=</style>)", re.DOTALL)


class Page(NamedTuple):
    """The page, and the ``Content-Security-Policy`` that it is to be sent with."""

    text: str
    policy: str


def page(document: _Json) -> Page:
    """Render an OpenAPI document whose references lead nowhere else."""
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters.update(prose=_prose, example=_example, type=_type)
    environment.globals.update(resolve=lambda node: _resolve(document, node), curl=_curl)
    source = resources.files(__package__).joinpath("docs.html").read_text("utf-8")
    sections = {tag["name"]: [*_operations(document, tag["name"])] for tag in document["tags"]}
    text = environment.from_string(source).render(document=document, sections=sections)
    [style] = _STYLE.findall(text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Page(
        text,
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    )


class _Operation(NamedTuple):
    method: str
    path: str
    content: _Json
    parameters: list[_Json]

    @property
    def refusals(self) -> list[str]:
        """The statuses of problems, which are described once for all."""
        refs = {s: answer.get("$ref", "") for s, answer in self.content["responses"].items()}
        return sorted(s for s, ref in refs.items() if "/Problem" in ref)


def _operations(document: _Json, tag: str) -> Iterator[_Operation]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item and tag in item[method]["tags"]:
                given = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                parameters = [_resolve(document, parameter) for parameter in given]
                yield _Operation(method.upper(), path, item[method], parameters)


def _resolve(document: _Json, node: _Json) -> _Json:
    while "$ref" in node:
        found: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def _prose(text: str) -> Markup:
    """Return a description as HTML: what is in backticks is code, blank lines part paragraphs."""
    marked = _CODE.sub(r"<code>\1</code>", str(escape(text.strip())))
    paragraphs = [
        f"<ul><li>{block[2:].replace(chr(10) + '* ', '</li><li>')}</li></ul>"
        if block.startswith("* ")
        else f"<p>{block}</p>"
        for block in marked.split("\n\n")
    ]
    return Markup("".join(paragraphs))  # noqa: S704 - escaped above


def _example(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _type(schema: _Json) -> Markup:
    """Return what a schema says of a value's type, with links to the schemas that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return Markup(" or ").join(_type(each) for each in schema[key])
    if "const" in schema:
        return Markup("<code>{}</code>").format(schema["const"])
    if "enum" in schema:
        return Markup(", ").join(Markup("<code>{}</code>").format(each) for each in schema["enum"])
    if schema.get("type") == "array":
        return Markup("list of ") + _type(schema["items"]) + _limits(schema)
    for values in (
        schema.get("additionalProperties"),
        *schema.get("patternProperties", {}).values(),
    ):
        if isinstance(values, dict):
            return Markup("map of ") + _type(values)
    return escape(schema.get("format") or schema.get("type", "any")) + _limits(schema)


def _limits(schema: _Json) -> str:
    least = schema.get("minimum", schema.get("minItems"))
    most = schema.get("maximum", schema.get("maxItems"))
    longest = schema.get("maxLength")
    said = [
        f"from {least}" if least is not None else "",
        f"to {most}" if most is not None else "",
        f"at most {longest} characters" if longest is not None else "",
    ]
    words = " ".join(word for word in said if word)
    return f" ({words})" if words else ""


def _curl(operation: _Operation) -> str:
    """Return a command that calls an operation."""
    shown = {each["name"]: each["example"] for each in operation.parameters if "example" in each}
    path = _TOKEN.sub(lambda found: str(shown[found[1]]), operation.path)
    words = ["curl"]
    if operation.method not in ("GET", "POST") or "requestBody" not in operation.content:
        words += [] if operation.method == "GET" else ["-X", operation.method]
    lines = [" ".join([*words, f"http://localhost:8080{path}"])]
    for media, content in operation.content.get("requestBody", {}).get("content", {}).items():
        body = json.dumps(content["examples"]["example"]["value"], ensure_ascii=False)
        lines += [f"  -H 'Content-Type: {media}'", f"  -d '{body}'"]
        break
    return " \\\n".join(lines)
