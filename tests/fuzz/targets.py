"""Each target takes any bytes and raises only where the service breaks a promise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from gunicorn.config import Config
from gunicorn.http import errors as http_errors

from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.errors import Refused
from lambda_builder.events.reader import EventReader
from lambda_builder.kube.labels import safe
from lambda_builder.manifest.placeholders import FIELDS, PlaceholderError, Text
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.server.reading import ConnectionOver, RequestReader
from lambda_builder.server.refusals import Refusal
from lambda_builder.settings import Settings
from tests.fuzz.credentials import credentials, tokens

BUILD_TYPES = ("network.notifi.lambda.build.start", "io.knative.lambda.command.build.start")
READERS = [
    EventReader(strict=strict, build_event_types=BUILD_TYPES, name_by_target=by_target)
    for strict in (False, True)
    for by_target in (False, True)
]
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?")
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")
MOST_BODY_BYTES = 256
SETTINGS = Settings(registry_secret="registry-login")
TEMPLATES = [
    JobTemplate.from_settings(SETTINGS.model_copy(update={"job_template": name}))
    for name in ("kaniko.yaml", "buildkit.yaml")
]


# -- events ------------------------------------------------------------------------------------


def events(data: bytes) -> None:
    """A byte that chooses the reader, lines of headers, an empty line, a body."""
    head, _, body = data[1:].partition(b"\n\n")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\n"))
    headers = {name: value.strip(" \t") for name, _, value in lines}
    try:
        delivery = READERS[data[0] % 4 if data else 0].read(headers, body, now=1.0)
    except Refused as error:
        _check_told(error)
        return
    for request in delivery.events:
        assert not CONTROLS.search(request.correlation_id)
        assert type(request).from_json(request.to_json()) == request
        if isinstance(request, BuildRequest):
            _check_build(request)


def _check_told(error: Exception) -> None:
    assert 0 < len(str(error).encode()) < 8000


def _check_build(request: BuildRequest) -> None:
    assert DNS_LABEL.fullmatch(request.job_name)
    assert not CONTROLS.search("".join((*request.ids, *request.log_fields().values())))
    envelope = {"Content-Type": "application/cloudevents+json"}
    [again] = READERS[0].read(envelope, request.event, now=1.0).events
    assert isinstance(again, BuildRequest)
    assert again.event_hash == request.event_hash
    assert again.event == request.event
    assert (again.third_party_id, again.parser_id) == (request.third_party_id, request.parser_id)


# -- manifests ---------------------------------------------------------------------------------


def manifests(data: bytes) -> None:
    """The texts of a build, NUL between them: none may change more than texts of its manifest."""
    texts = data.decode("utf-8", "replace").split("\x00")
    request = _build(texts)
    for template in TEMPLATES:
        ours, plain = template.render(request), template.render(_like(request))
        _check_alike(ours, plain, "")
        assert ours["metadata"]["name"] == request.job_name
        for labels in (ours["metadata"]["labels"], ours["spec"]["template"]["metadata"]["labels"]):
            assert all(LABEL_VALUE.fullmatch(value) for value in labels.values())
        json.dumps(ours).encode()


def _build(texts: list[str]) -> BuildRequest:
    names = [f.name for f in fields(BuildRequest) if f.name not in _OTHER]
    values = dict(zip(names, texts, strict=False))
    rest = texts[len(names) :]
    required = {name: "x" for name in names if name in _REQUIRED}
    request = {**required, **{name: value for name, value in values.items() if value}}
    digest = netstring_digest(request["event_source"], request["event_id"])
    named = job_name(request["third_party_id"], request["parser_id"], digest)
    arguments = dict(zip(rest[::2], rest[1::2], strict=False))
    return BuildRequest(**request, event_hash=digest, job_name=named, build_args=arguments)  # type: ignore[arg-type]


_OTHER = ("event_hash", "job_name", "priority", "build_args", "event", "accepted_at")
_REQUIRED = (
    *("event_id", "event_source", "event_type", "parser_id", "third_party_id"),
    "correlation_id",
)


def _like(request: BuildRequest) -> BuildRequest:
    """Return a harmless build with the same fields present and as many arguments."""
    names = [f.name for f in fields(BuildRequest) if f.name not in _OTHER]
    present = {name: "x" for name in names if getattr(request, name)}
    arguments = {f"A{n}": "x" for n in range(len(request.build_args))}
    return BuildRequest(**present, event_hash="0" * 64, job_name="x", build_args=arguments)  # type: ignore[arg-type]


_NOT_THE_EVENTS = (".image", ".secretName", ".serviceAccountName", ".mountPath")


def _check_alike(ours: Any, plain: Any, path: str) -> None:
    """Hold two manifests to the same keys, lengths and types, and what runs to the same image."""
    assert type(ours) is type(plain), path
    if isinstance(ours, dict):
        # What a build is noted by may be too large to be noted.
        optional = {"build.notifi.network/request"}
        assert ours.keys() - optional == plain.keys() - optional, path
        for key in ours.keys() & plain.keys():
            _check_alike(ours[key], plain[key], f"{path}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(plain), path
        for number, (one, other) in enumerate(zip(ours, plain, strict=True)):
            _check_alike(one, other, f"{path}[{number}]")
    elif not isinstance(ours, str) or path.endswith(_NOT_THE_EVENTS):
        assert ours == plain, path
    elif ".args[" in path or ".command[" in path:
        assert ours.partition("=")[0] == plain.partition("=")[0], path


def placeholders(data: bytes) -> None:
    """A template's text: it is refused, or filled with values that are never read again."""
    source = data.decode("utf-8", "replace")
    try:
        text = Text(source, frozenset(FIELDS))
    except PlaceholderError as error:
        _check_told(error)
        return
    filled = text.fill(dict.fromkeys(text.names, "${image}$$"))
    assert filled.count("${image}$$") >= len(text.names)
    assert Text(source.replace("$", "$$"), frozenset()).fill({}) == source


# -- names -------------------------------------------------------------------------------------


def names(data: bytes) -> None:
    """Two ids, NUL between them."""
    first, _, second = data.decode("utf-8", "replace").partition("\x00")
    digest = netstring_digest(first, second)
    name = job_name(first, second, digest)
    assert DNS_LABEL.fullmatch(name)
    assert name.endswith(f"-{digest[:10]}")
    assert name == job_name(first.lower(), second.lower(), digest)
    for text in (first, second):
        assert LABEL_VALUE.fullmatch(safe(text))
        assert safe(safe(text)) == safe(text)
    if first + second:
        assert netstring_digest(first + second, "") != digest or not second


# -- HTTP --------------------------------------------------------------------------------------


class _Client:
    """A connection on which parts come one after the other."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def recv(self, size: int) -> bytes:
        if not self.parts:
            return b""
        part = self.parts[0][:size]
        self.parts[0] = self.parts[0][size:]
        if not self.parts[0]:
            del self.parts[0]
        return part

    def send(self, data: bytes) -> int:
        return len(data)


def http(data: bytes) -> None:
    """A number of bytes after which the rest comes later, then those of a connection."""
    cut, raw = data[0] if data else 0, data[1:]
    whole = list(_read([raw]))
    assert list(_read([raw[:cut], raw[cut:]])) == whole
    for request in whole:
        if isinstance(request, tuple):
            _check_request(*request)


def _read(parts: list[bytes]) -> Iterator[Any]:
    """Yield each request, then how the connection ended."""
    client: Any = _Client([part for part in parts if part])
    reader = RequestReader(_CONFIG, client, ("127.0.0.1", 1), MOST_BODY_BYTES)
    try:
        while True:
            request = reader.advance(readable=True)
            if request is not None:
                yield request.method, request.uri, tuple(request.headers), request.body.read()
                if request.should_close():
                    return
    except ConnectionOver:
        yield "over"
    except http_errors.ParseException as error:
        answer = Refusal.of(error).answer()
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501 "))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.count(b"\r\n") == 4
        json.loads(body)
        yield "refused"  # for which of several reasons may depend on what was read first
    finally:
        reader.close()


_CONFIG = Config()
_CONFIG.set("limit_request_line", 300)
_CONFIG.set("limit_request_field_size", 300)


def _check_request(
    method: str, uri: str, headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    assert HEADER_NAME.fullmatch(method)
    assert not re.search(r"[\x00-\x20\x7f-\xff#]", uri)
    assert len(body) <= MOST_BODY_BYTES + 1
    for name, value in headers:
        assert HEADER_NAME.fullmatch(name)
        assert "_" not in name
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value)
    said = [name for name, _ in headers]
    assert said.count("HOST") <= 1
    assert said.count("CONTENT-LENGTH") + said.count("TRANSFER-ENCODING") <= 1


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (events, manifests, placeholders, names, http, credentials, tokens)
}
"""By name. A new reader of foreign bytes is one function more here, and seeds in ``corpus/``."""
