"""Requests read as their bytes arrive: where they are cut never matters to what they say."""

from __future__ import annotations

import gc
import random
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import errors as http_errors

from lambda_builder.server.chunks import CHUNKS_AT_A_TIME, Padded
from lambda_builder.server.client import ClientSocket
from lambda_builder.server.heads import NoHost
from lambda_builder.server.reading import (
    HEAD_BYTES,
    ConnectionOver,
    RequestReader,
    SettingsReadOnce,
)
from tests.hostile import generate

MOST = 65_536
PEER = ("127.0.0.1", 1)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nTrailing: yes\r\n\r\n"
)


@contextmanager
def reading(max_body_bytes: int = MOST) -> Iterator[tuple[RequestReader, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with ClientSocket(ours.detach()) as client, theirs:
        reader = RequestReader(Config(), client, PEER, max_body_bytes)
        try:
            yield reader, theirs
        finally:
            reader.close()


def outcome(parts: list[bytes]) -> list[Any]:
    """Send the parts, each once the ones before it are read; tell what became of them."""
    found: list[Any] = []
    with reading() as (reader, theirs):
        try:
            for part in parts:
                theirs.sendall(part)
                found += read_all(reader, len(part))
            theirs.shutdown(socket.SHUT_WR)
            found += read_all(reader, 0)
            reader.advance(readable=True)
            found.append("open")
        except ConnectionOver:
            found.append("over")
        except (http_errors.ParseException, OSError) as error:
            found.append(type(error).__name__)
    return found


def read_all(reader: RequestReader, size: int) -> Iterator[Any]:
    """Advance as often as ``size`` bytes can be there to be read; yield each whole request."""
    for _ in range(size // 1024 + 3):
        request = advance(reader)
        while request is not None:
            yield request.method, request.uri, sorted(request.headers), request.body.read()
            request = advance(reader, readable=False)


def advance(reader: RequestReader, *, readable: bool = True) -> Any:
    """Advance until the reader waits for its client."""
    request = reader.advance(readable=readable)
    while request is None and reader.is_paused:
        request = reader.advance(readable=True)
    return request


@pytest.mark.parametrize("raw", [GET, POST, CHUNKED, GET + POST + CHUNKED + GET])
def test_a_request_that_comes_a_byte_at_a_time_is_the_one_that_comes_at_once(raw: bytes) -> None:
    whole = outcome([raw])
    assert whole[-1] == "over"
    assert len(whole) == raw.count(b"HTTP/1.1") + 1
    assert outcome([raw[n : n + 1] for n in range(len(raw))]) == whole


@pytest.mark.parametrize("seed", range(4))
def test_hostile_requests_mean_the_same_however_they_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    for _, hostile in islice(generate(rng), 150):
        raw = hostile.raw[:20_000]
        places = sorted(rng.randrange(len(raw) + 1) for _ in range(rng.choice([1, 3, 20])))
        parts = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True) if a < b]
        assert outcome(parts) == outcome([raw]), raw


def test_nothing_is_handed_out_before_it_is_whole() -> None:
    with reading() as (reader, theirs):
        theirs.sendall(POST[:-1])
        assert reader.advance(readable=True) is None
        assert reader.received == len(POST) - 1
        assert reader.advance(readable=True) is None
        theirs.sendall(POST[-1:])
        assert reader.advance(readable=True).body.read() == b"hello"


def test_each_request_is_counted_from_its_own_first_byte() -> None:
    with reading() as (reader, theirs):
        assert (reader.advance(readable=True), reader.received) == (None, 0)
        theirs.sendall(GET + b"GET /")
        assert reader.advance(readable=True).uri == "/a"
        assert (reader.advance(readable=False), reader.received) == (None, 5)


def test_a_request_that_came_in_one_piece_is_counted_until_the_next_is_waited_for() -> None:
    with reading() as (reader, theirs):
        for raw in (GET, POST):
            theirs.sendall(raw)
            assert reader.advance(readable=True) is not None
            assert reader.received == len(raw)
            assert (reader.advance(readable=False), reader.received) == (None, 0)


def test_a_request_in_one_piece_without_a_host_is_refused() -> None:
    with reading() as (reader, theirs):
        theirs.sendall(b"GET / HTTP/1.1\r\n" + b"A: b\r\n\r\n")
        with pytest.raises(NoHost):
            reader.advance(readable=True)


def test_the_last_option_of_a_connection_is_heeded_in_one_piece() -> None:
    with reading() as (reader, theirs):
        theirs.sendall(GET.replace(b"Host", b"Connection: TE, close\r\nHost"))
        assert reader.advance(readable=True).should_close()


@pytest.mark.parametrize("sent", [b"", GET, POST, GET[:9], POST[:-1]])
def test_a_closed_reader_is_freed_without_a_collection(sent: bytes) -> None:
    gc.collect()
    gc.disable()
    try:
        with reading() as (reader, theirs):
            theirs.sendall(sent)
            reader.advance(readable=True)
            alive: list[weakref.ref[Any]] = [weakref.ref(reader), weakref.ref(reader._plain)]
        del reader
        assert [each() for each in alive] == [None, None]
    finally:
        gc.enable()


def test_a_body_over_the_limit_is_handed_out_before_it_is_read() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MOST + 1)
    with reading() as (reader, theirs):
        theirs.sendall(head)
        request = reader.advance(readable=True)
        assert request.should_close()
        assert request.body.read() == b""


def test_of_a_chunked_body_no_more_is_read_than_shows_that_it_is_too_large() -> None:
    with reading() as (reader, theirs):
        theirs.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(MOST // 4096):
            theirs.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            for _ in range(8):
                assert advance(reader) is None
        theirs.sendall(b"1000\r\nx")
        request = advance(reader)
        assert request.should_close()
        assert len(request.body.read()) == MOST + 1


@pytest.mark.parametrize(
    ("begin", "more", "refused"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: " + b"y" * 997, http_errors.LimitRequestHeaders),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;" + b"a" * 995 + b"\r\nx\r\n",
            Padded,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n" * 160,
            Padded,
        ),
    ],
    ids=["head", "extensions", "chunks"],
)
def test_what_is_no_content_is_bounded(begin: bytes, more: bytes, refused: type[Exception]) -> None:
    with reading() as (reader, theirs):

        def send_on() -> None:
            for _ in range(3 * HEAD_BYTES // len(more)):
                theirs.sendall(more)
                assert advance(reader) is None

        theirs.sendall(begin)
        with pytest.raises(refused):
            send_on()


def chunked(*lines: bytes) -> bytes:
    return (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(lines)
        + b"0\r\n\r\n"
    )


@pytest.mark.parametrize(
    "lines",
    [[b"1\r\nx\r\n"] * 2046, [b"2;" + b"a" * 2042 + b"\r\nxx\r\n"] * 4],
    ids=["chunks", "extensions"],
)
def test_the_bound_on_framing_is_the_same_however_the_bytes_are_cut(lines: list[bytes]) -> None:
    rng = random.Random(1)
    for raw, accepted in ((chunked(*lines), True), (chunked(*lines, lines[0]), False)):
        for _ in range(20):
            places = sorted(rng.randrange(len(raw) + 1) for _ in range(rng.choice([0, 1, 3, 20])))
            parts = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]
            assert outcome(parts)[-1] == ("over" if accepted else "Padded"), places


def test_a_reader_of_many_chunks_lets_others_go_first_every_few_of_them() -> None:
    lines = [b"10\r\n" + b"x" * 16 + b"\r\n"] * 20 * CHUNKS_AT_A_TIME
    with reading() as (reader, theirs):
        theirs.sendall(chunked(*lines))
        pauses = 0
        while (request := reader.advance(readable=True)) is None:
            assert reader.in_chunks
            pauses += reader.is_paused
        assert pauses == 21
        assert not reader.in_chunks
        assert len(request.body.read()) == 16 * len(lines)


def test_a_body_is_asked_for_once_its_head_is_known_to_be_good() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with reading() as (reader, theirs):
        theirs.sendall(head % 2)
        assert reader.advance(readable=True) is None
        assert theirs.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        theirs.sendall(b"ok")
        request = reader.advance(readable=True)
        assert request.body.read() == b"ok"
        assert not request._expected_100_continue, "gunicorn would ask again"
        theirs.sendall(head % (MOST + 1))
        assert reader.advance(readable=True).should_close()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)


def test_the_host_of_an_absolute_target_replaces_the_one_of_the_header() -> None:
    with reading() as (reader, theirs):
        theirs.sendall(b"GET http://a.example:80/x?y HTTP/1.1\r\nHost: b\r\n\r\n")
        request = reader.advance(readable=True)
        assert (request.path, request.query) == ("/x", "y")
        assert request.headers == [("HOST", "a.example:80")]


def test_the_body_of_a_request_is_not_kept_until_the_next_one() -> None:
    with reading() as (reader, theirs):
        theirs.sendall(POST)
        request = reader.advance(readable=True)
        assert reader.advance(readable=False) is None
        assert request.body.getvalue() == b""


@pytest.mark.parametrize("sent", [b"", b"GET /he", POST[:-1]])
def test_a_reader_can_be_closed_at_any_moment_and_twice(sent: bytes) -> None:
    with reading() as (reader, theirs):
        theirs.sendall(sent)
        reader.advance(readable=True)
        reader.close()
        reader.close()


def test_each_setting_of_gunicorn_is_looked_up_once():
    looked_up: list[str] = []

    class Settings:
        def __getattr__(self, name: str) -> str:
            looked_up.append(name)
            return f"the {name}"

    settings = SettingsReadOnce(Settings())
    assert [settings.keepalive, settings.keepalive] == ["the keepalive"] * 2
    assert looked_up == ["keepalive"]
