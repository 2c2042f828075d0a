"""Connections whose writes make nobody wait, and streams that wait for their reader."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lambda_builder.server.client import ClientSocket

Pair = tuple[ClientSocket, socket.socket]
MUCH = 10_000_000
"""Bytes: more than the kernel takes for a client that does not read."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    client = ClientSocket(ours.detach())
    theirs.settimeout(5)
    with client, theirs:
        yield client, theirs


def test_what_is_written_goes_out_with_the_next_flush_and_in_order(pair: Pair) -> None:
    client, theirs = pair
    client.sendall(b"head ")
    client.sendall(b"body")
    assert client.unsent == 9
    assert client.flush()
    assert client.unsent == 0
    assert theirs.recv(100) == b"head body"


def test_what_the_client_does_not_take_is_kept_until_it_does(pair: Pair) -> None:
    client, theirs = pair
    pattern = bytes(range(251)) * (MUCH // 251)
    client.sendall(pattern)
    assert not client.flush()
    assert 0 < client.unsent < len(pattern)
    client.sendall(b"and more")
    got = bytearray()
    while not client.flush() or len(got) < len(pattern) + 8:
        got += theirs.recv(1_000_000)
    assert bytes(got) == pattern + b"and more"


def test_a_discarded_answer_is_not_sent(pair: Pair) -> None:
    client, theirs = pair
    client.sendall(b"half an answer")
    client.discard()
    client.sendall(b"error")
    assert client.flush()
    assert theirs.recv(100) == b"error"


def test_a_stream_goes_out_at_once(pair: Pair) -> None:
    client, theirs = pair
    client.begin_stream(seconds=5)
    client.sendall(b"a line\n")
    assert theirs.recv(100) == b"a line\n"
    client.end_stream()
    client.sendall(b"the next answer")
    assert client.unsent == 15


def test_a_stream_whose_client_does_not_read_is_as_one_that_has_gone(pair: Pair) -> None:
    client, _ = pair
    client.begin_stream(seconds=0.01)
    with pytest.raises(ConnectionResetError, match="does not read"):
        client.sendall(b"x" * MUCH)


def test_reading_never_waits(pair: Pair) -> None:
    client, theirs = pair
    with pytest.raises(BlockingIOError):
        client.recv(10)
    theirs.sendall(b"ab")
    assert client.recv(1, socket.MSG_PEEK) == b"a"
    assert client.recv(10) == b"ab"
