"""Build logs, streamed: over the test client, and over a real connection that breaks off."""

from __future__ import annotations

import socket
import threading
from functools import partial

import pytest
from werkzeug.serving import make_server

from lambda_builder.errors import FailureReason, Transient
from tests.waiting import wait_until


class Log:
    """A log that a test writes line by line; the stream of it says when it was closed."""

    def __init__(self):
        self.closed = threading.Event()
        self._lines = []
        self._more = threading.Condition()

    def write(self, *lines):
        with self._more:
            self._lines += lines
            self._more.notify_all()

    def _has_more_than(self, seen: int) -> bool:
        return len(self._lines) > seen

    def open(self):
        try:
            number = 0
            while True:
                with self._more:
                    self._more.wait_for(partial(self._has_more_than, number), 0.02)
                    fresh, number = self._lines[number:], len(self._lines)
                for line in fresh or [b""]:
                    if line is None:
                        return
                    yield line
        finally:
            self.closed.set()


@pytest.fixture
def followed(build_house, make_result):
    house = build_house(streams_max=2)
    house.directory.builds["order-7"] = make_result()
    return house


@pytest.fixture
def log(followed):
    log = Log()
    followed.directory.log = log.open
    return log


def follow(house):
    return house.client.get("/async-jobs/order-7/logs?follow=true", buffered=False)


def lines(answer):
    return (chunk for chunk in answer.iter_encoded() if chunk)


def test_a_log_is_text_that_nothing_on_the_way_may_hold_back(followed):
    answer = followed.client.get("/async-jobs/order-7/logs")
    assert answer.data == b"one\ntwo\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in answer.headers
    assert answer.headers["X-Correlation-ID"]


@pytest.mark.parametrize(
    ("query", "asked"),
    [("", "log"), ("?follow=", "log"), ("?follow=false", "log"), ("?follow=0", "log"),
     ("?follow=true", "follow"), ("?follow=True", "follow"), ("?follow=1", "follow")],
)  # fmt: skip
def test_follow_is_asked_for_by_name(followed, query, asked):
    followed.client.get(f"/async-jobs/order-7/logs{query}")
    assert followed.directory.asked == [(asked, "order-7")]


def test_a_follow_that_is_neither_true_nor_false_is_refused(followed):
    answer = followed.client.get("/async-jobs/order-7/logs?follow=maybe")
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_parameter")
    assert answer.json["errors"][0]["field"] == "follow"


def test_the_log_of_an_unknown_build_is_a_404_and_takes_no_place(followed):
    for _ in range(10):
        assert followed.client.get("/async-jobs/nobody/logs").status_code == 404


def test_lines_arrive_as_they_are_written_and_the_stream_ends_with_the_build(followed, log):
    with follow(followed) as answer:
        chunks = lines(answer)
        log.write(b"first\n")
        assert next(chunks) == b"first\n"
        log.write(b"second\n", None)
        assert list(chunks) == [b"second\n"]
    assert log.closed.is_set()


def test_streams_are_bounded_and_their_places_come_back(followed, log):
    streams = [follow(followed) for _ in range(2)]
    refused = follow(followed)
    assert (refused.status_code, refused.json["code"]) == (503, "too_many_streams")
    assert int(refused.headers["Retry-After"]) >= 1
    assert followed.client.get("/health").status_code == 200
    for stream in streams:
        stream.close()
    with follow(followed) as again:
        assert again.status_code == 200


def test_the_headers_of_a_silent_log_arrive_at_once(followed, served):
    written = threading.Event()

    def silent():
        written.wait(30)
        yield b"at last\n"

    followed.directory.log = silent
    with connect(served, "/async-jobs/order-7/logs?follow=1") as connection:
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        written.set()


def test_head_opens_nothing_that_stays_open(followed, log):
    for _ in range(10):
        with followed.client.head("/async-jobs/order-7/logs?follow=true") as answer:
            assert answer.status_code == 200
    with follow(followed) as answer:
        assert answer.status_code == 200


def test_a_shutdown_ends_the_stream(followed, log):
    with follow(followed) as answer:
        chunks = lines(answer)
        log.write(b"first\n")
        assert next(chunks) == b"first\n"
        followed.creator.is_shutdown = True
        assert list(chunks) == []


def test_a_log_that_cannot_be_read_on_says_so_and_ends(followed):
    def broken():
        yield b"one\n"
        raise Transient(FailureReason.CONNECTION, "connection reset")

    followed.directory.log = broken
    answer = followed.client.get("/async-jobs/order-7/logs")
    assert answer.data == b"one\n\n[the log could not be read further]\n"


@pytest.fixture
def served(followed):
    """Serve the app on a real port, with the connection shown to it as gunicorn shows it."""

    def app(environ, start_response):
        environ["gunicorn.socket"] = environ["werkzeug.socket"]
        return followed.app(environ, start_response)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    setattr(server, "daemon_threads", True)  # noqa: B010 - of the threading mix-in
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(10)
    server.server_close()


def connect(port, path):
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: here\r\n\r\n".encode())
    return connection


def test_a_reader_that_goes_away_from_a_silent_log_is_noticed(followed, log, served):
    with connect(served, "/async-jobs/order-7/logs?follow=1") as connection:
        connection.recv(1024)
    wait_until(log.closed.is_set)
    with follow(followed) as again:
        assert again.status_code == 200


def test_readers_that_come_and_go_leave_every_place_free(followed, log, served):
    for _ in range(20):
        with connect(served, "/async-jobs/order-7/logs?follow=1") as connection:
            assert connection.recv(64).startswith(b"HTTP/1.1")

    def both_places_free():
        with follow(followed) as first, follow(followed) as second:
            return (first.status_code, second.status_code) == (200, 200)

    wait_until(both_places_free)
