"""Plain requests, read by llhttp, are what gunicorn's parser would have made of them."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import errors as http_errors
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambda_builder.server.plain import PlainReader, _has_plain_lines
from tests.hostile import generate

PEER = ("127.0.0.1", 1)
SERVICE = {"limit_request_line": 8190, "limit_request_field_size": 65_536}
OPTIONS: list[dict[str, object]] = [
    {},
    SERVICE | {"forwarded_allow_ips": ""},
    {"forwarded_allow_ips": "10.9.9.9"},
    {"header_map": "dangerous"},
    {"header_map": "refuse"},
    {"forwarder_headers": "*"},
    {"casefold_http_method": True, "permit_unconventional_http_method": True},
    {"permit_obsolete_folding": True, "strip_header_spaces": True},
    {"permit_unconventional_http_version": True},
    {"limit_request_line": 0, "limit_request_field_size": 0},
    {"limit_request_fields": 9},
    {"limit_request_field_size": 30},
    {"certfile": "c", "keyfile": "k"},
]
"""What an operator may set; the second is near what the service has."""
MOST = 4_096
BODY = b'{"parser_id": "p"}'
EVENT = (
    b"POST /events?a=%%20b HTTP/1.1\r\nHost: builds.example:8080\r\n"
    b"ce-specversion: 1.0\r\nCE-Id:\t1 \r\nce-source: /a\r\nce-type: t\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
GET = b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close, TE\r\n\r\n"
PARTS = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\x00", b"\x7f", b"\xe9", b"_", b"#"),
        *(b"//", b"http://y/", b"*", b"?", b"HTTP/1.0", b"HTTP/2.0", b"POST", b"CONNECT", GET),
        *(b"Content-Length: 1\r\n", b"Content-Length: +18\r\n", b"Content-Length: 018\r\n"),
        *(b"Content-Type: a\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
        *(b"Upgrade: websocket\r\n", b"Connection: upgrade\r\n", b"Connection: close\r\n"),
        *(
            b"X-Forwarded-Proto: http\r\n",
            b"X_Forwarded-For: y\r\n",
            b"Proxy-Connection: close\r\n",
        ),
        *(b"SCRIPT_NAME: /a\r\n", b" folded: yes\r\n", b"X:\r\n", b": y\r\n", b"host: y\r\n"),
    ]
)


def told(request: Any, body: bytes) -> dict[str, Any]:
    """Tell all that is asked of a request later on."""
    names = "method", "uri", "path", "query", "version", "headers", "scheme", "must_close"
    found = {name: getattr(request, name) for name in names}
    return found | {
        "body": body,
        "closes": request.should_close(),
        "continues": request._expected_100_continue,
        "proxied": request.proxy_protocol_info,
    }


def plain(raw: bytes, **options: object) -> dict[str, Any] | str | None:
    try:
        request = PlainReader(config(**options), PEER, MOST).read(raw)
    except http_errors.ParseException as error:
        return type(error).__name__
    return None if request is None else told(request, request.body.getvalue())


def by_gunicorn(raw: bytes, **options: object) -> dict[str, Any] | str:
    """Tell of the one request that the bytes are, or why they are none."""
    unreader = IterUnreader([raw])
    try:
        request = Request(config(**options), unreader, PEER)
        found = told(request, request.body.read())
    except (http_errors.ParseException, StopIteration) as error:
        return type(error).__name__
    return "more than one" if unreader.read() else found


def config(**options: object) -> Config:
    made = Config()
    for name, value in options.items():
        made.set(name, value)
    return made


@pytest.mark.parametrize("raw", [EVENT, GET, CLOSE])
def test_an_ordinary_request_is_plain(raw: bytes) -> None:
    assert plain(raw) == by_gunicorn(raw)


def test_bytes_above_ascii_in_a_value_are_plain() -> None:
    raw = GET.replace(b"Host", b"X: \xc3\xa9\r\nHost")
    found = plain(raw)
    assert found == by_gunicorn(raw)
    assert isinstance(found, dict)
    assert ("X", "\xc3\xa9") in found["headers"]


@settings(max_examples=1_500, deadline=None)
@given(
    raw=st.sampled_from([EVENT, GET, CLOSE]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), PARTS), max_size=3),
    options=st.sampled_from(OPTIONS),
)
@example(raw=EVENT, changes=[], options={})
def test_what_is_plain_means_the_same_to_gunicorn(
    raw: bytes, changes: list[tuple[int, int, bytes]], options: dict[str, object]
) -> None:
    for place, length, part in changes:
        raw = raw[: place % len(raw)] + part + raw[place % len(raw) + length :]
    found = plain(raw, **options)
    if found is not None:
        assert found == by_gunicorn(raw, **options), raw


@pytest.mark.parametrize("options", OPTIONS)
def test_each_setting_means_the_same_to_gunicorn(options: dict[str, object]) -> None:
    long = EVENT.replace(b"ce-type: t", b"ce-type: " + b"t" * 40)
    taken = 0
    for raw in (EVENT, GET, CLOSE, long, EVENT.replace(b"ce-type", b"ce_type")):
        found = plain(raw, **options)
        taken += found is not None
        assert found in (None, by_gunicorn(raw, **options)), raw
    assert taken or "limit_request_field_size" in options


def test_only_a_trusted_peer_sets_the_scheme() -> None:
    schemes = []
    for trusted in ("127.0.0.1", ""):
        found = plain(EVENT, forwarded_allow_ips=trusted)
        assert isinstance(found, dict)
        schemes.append(found["scheme"])
    assert schemes == ["https", "http"]


@pytest.mark.parametrize("digits", [19, 20, 4_301])
def test_a_length_of_many_digits_is_left_to_gunicorn(digits: int) -> None:
    raw = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\nhello"
    found = plain(raw % b"5".zfill(digits), **SERVICE)
    assert (found is None) == (digits > 19)


@pytest.mark.parametrize("head", [b"A: b\r\n c", b"A: b\r\n\tc", b"A: b\nC: d", b"A: b\n\r\nC: d"])
def test_lines_that_are_folded_or_end_in_lf_alone_are_not_plain(head: bytes) -> None:
    assert not _has_plain_lines(b"GET / HTTP/1.1\r\n" + head)
    assert _has_plain_lines(b"GET / HTTP/1.1\r\nA: b")


@pytest.mark.parametrize("raw", [EVENT, GET, CLOSE])
@pytest.mark.parametrize(
    "part", [b"X-Forwarded-Proto: http\r\n", b"Content-Length: 0\r\n", b"\r\n"]
)
def test_a_part_before_any_line_means_the_same_to_gunicorn(raw: bytes, part: bytes) -> None:
    starts = [0, *(place + 2 for place in range(len(raw)) if raw[place : place + 2] == b"\r\n")]
    for start in starts:
        changed = raw[:start] + part + raw[start:]
        assert plain(changed) in (None, by_gunicorn(changed)), changed


@pytest.mark.parametrize("seed", range(3))
def test_hostile_requests_that_are_plain_mean_the_same_to_gunicorn(seed: int) -> None:
    taken = 0
    for _, hostile in islice(generate(random.Random(seed)), 400):
        found = plain(hostile.raw)
        if found is not None:
            taken += 1
            assert found == by_gunicorn(hostile.raw), hostile.raw
    assert taken > 50


@pytest.mark.parametrize(
    "raw",
    [
        GET + GET,
        EVENT[:-1],
        EVENT + b" ",
        GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GET.replace(b"Connection: keep-alive", b"Transfer-Encoding: chunked"),
        EVENT.replace(b"ce-specversion: 1.0", b"Expect: 100-continue"),
        GET.replace(b"/ready", b"//host/ready"),
        GET.replace(b"/ready", b"http://y/ready"),
        GET.replace(b"/ready", b"/ready#hidden"),
        GET.replace(b"Host: x", b"Host: x\r\n folded"),
        GET.replace(b"Host: x", b"Host: x\r\n" + b"\r\n".join(b"X: y" for _ in range(100))),
        GET.replace(b"Host: x", b"Host: x\r\nX: " + b"y" * 9_000),
        b"\r\n" + GET,
        b"",
    ],
)
def test_what_is_not_plain_is_left_to_gunicorn(raw: bytes) -> None:
    assert plain(raw) is None


def test_a_body_above_the_limit_is_left_to_gunicorn() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    assert plain(head % MOST + b"x" * MOST) is not None
    assert plain(head % (MOST + 1) + b"x" * (MOST + 1)) is None


@pytest.mark.parametrize(
    ("raw", "refused"),
    [
        (GET.replace(b"Host: x", b"Host: x\r\nhost: y"), "InvalidHeader"),
        (EVENT.replace(b"ce-type: t", b"content-type: t"), "InvalidHeader"),
        (EVENT.replace(b"ce-type: t", b"X-Forwarded-Proto: http"), "InvalidSchemeHeaders"),
    ],
)
def test_what_gunicorn_refuses_of_the_fields_is_refused(raw: bytes, refused: str) -> None:
    assert plain(raw) == by_gunicorn(raw) == refused


def test_gunicorns_bounds_are_kept() -> None:
    line = GET.replace(b"/ready", b"/" + b"r" * 100)
    assert plain(line, limit_request_line=100) is None
    assert plain(line, limit_request_line=0) == by_gunicorn(line, limit_request_line=0)
    assert plain(GET, limit_request_fields=1) is None
    assert plain(GET, limit_request_field_size=10) is None
    longer = GET.replace(b"/ready", b"/" + b"r" * 9_000)
    assert plain(longer, limit_request_line=20_000, limit_request_field_size=20_000) is None


@pytest.mark.parametrize(
    "options", [{"proxy_protocol": "auto"}, {"protocol": "uwsgi"}, {"http_parser": "fast"}]
)
def test_another_protocol_or_parser_is_gunicorns(options: dict[str, object]) -> None:
    assert plain(GET, **options) is None


def test_a_reader_reads_on_after_what_was_not_plain() -> None:
    reader = PlainReader(config(), PEER, MOST)
    for raw in (EVENT[:-1], b"no request\r\n\r\n", CLOSE, GET + GET):
        reader.read(raw)
        request = reader.read(EVENT)
        if request is None and raw is CLOSE:  # llhttp reads no further, and is put aside
            request = reader.read(EVENT)
        assert request is not None, raw
        assert told(request, request.body.getvalue()) == by_gunicorn(EVENT), raw
