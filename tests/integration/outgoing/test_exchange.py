"""One exchange ends in time, whatever the other side does."""

from __future__ import annotations

import time

import pytest

from lambda_builder.outgoing.exchange import Poster

BOUND = 0.5


@pytest.fixture
def poster():
    made = Poster(connections=2)
    yield made
    made.close()


def post(poster, url, body=b"{}"):
    """Post once; return what went wrong, and how long that took."""
    began = time.monotonic()
    problem = poster.post(url, {"content-type": "application/json"}, body, seconds=BOUND)
    return problem, time.monotonic() - began


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        (b"HTTP/1.1 202 A", b"c"),
        (b"HTTP/1.1 202 Accepted\r\n", b"x"),
        (b"HTTP/1.1 202 Accepted\r\n", b"x: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b""),
    ],
    ids=["status line", "one header", "headers", "interim answers", "nothing"],
)
def test_an_answer_whose_head_never_ends_is_given_up_in_time(poster, trickler, head, drip):
    problem, seconds = post(poster, trickler(head, drip).url)
    assert problem
    assert BOUND * 0.9 <= seconds < BOUND + 2


def test_a_receiver_that_does_not_read_is_given_up_in_time(poster, trickler):
    problem, seconds = post(poster, trickler(b"", b"", reads=False).url, b"x" * 20_000_000)
    assert problem
    assert seconds < BOUND + 5


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_what_is_answered_well_counts_as_taken_without_its_body(poster, trickler, head):
    problem, seconds = post(poster, trickler(head, b"1\r\nx\r\n").url)
    assert problem is None
    assert seconds < BOUND


@pytest.mark.parametrize("status", [301, 304, 400, 503])
def test_anything_but_a_success_is_a_failure(poster, receiver, status):
    receiver.answer = lambda _name: status
    assert post(poster, receiver.url)[0] == f"HTTP {status}"


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_connection_is_used_again(poster, receiver, status):
    receiver.answer = lambda _name: status
    for _ in range(5):
        assert poster.post(receiver.url, {}, b"{}", seconds=10) is None
    assert receiver.connections == 1


def test_a_message_that_no_http_can_carry_is_a_failure_too(poster, receiver):
    assert "Invalid header value" in (
        poster.post(receiver.url, {"a": "b\nc"}, b"", seconds=1) or ""
    )
