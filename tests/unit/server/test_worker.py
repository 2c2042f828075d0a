"""Connections that count a client which keeps them waiting as gone."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from lambda_builder.server.worker import PatientSocket

Pair = tuple[PatientSocket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    patient = PatientSocket(fileno=ours.detach())
    with patient, theirs:
        yield patient, theirs


def test_what_was_sent_in_time_is_read(pair: Pair) -> None:
    patient, client = pair
    patient.begin_request(seconds=5)
    client.sendall(b"GET /")
    assert patient.recv(100) == b"GET /"
    assert patient.gettimeout() == 5
    assert not patient.gave_up


def test_silence_is_read_as_the_end_and_the_connection_cannot_be_used_again(pair: Pair) -> None:
    patient, client = pair
    patient.begin_request(seconds=0.01)
    assert patient.recv(100) == b""
    assert patient.gave_up
    client.sendall(b"too late")
    assert patient.recv(100) == b""


def test_bytes_that_trickle_do_not_extend_the_time(pair: Pair) -> None:
    patient, client = pair
    patient.begin_request(seconds=0.05)
    begun = time.monotonic()
    client.sendall(b"x")
    while patient.recv(1):
        client.sendall(b"x")
    assert 0.04 < time.monotonic() - begun < 1


def test_the_next_request_has_its_own_time(pair: Pair) -> None:
    patient, client = pair
    patient.begin_request(seconds=0.01)
    client.sendall(b"first")
    patient.recv(100)
    patient.begin_request(seconds=5)
    client.sendall(b"second")
    assert patient.recv(100) == b"second"


def test_a_client_that_does_not_read_is_as_one_that_has_gone(pair: Pair) -> None:
    patient, _ = pair
    patient.begin_request(seconds=0.01)
    with pytest.raises(ConnectionResetError, match="does not read"):
        patient.sendall(b"x" * 10_000_000)


def test_looking_and_reading_without_waiting_work_as_ever(pair: Pair) -> None:
    patient, client = pair
    patient.begin_request(seconds=0.01)
    client.sendall(b"ab")
    assert patient.recv(1, socket.MSG_PEEK) == b"a"
    patient.setblocking(False)
    assert patient.recv(10) == b"ab"
    with pytest.raises(BlockingIOError):
        patient.recv(10)
    assert not patient.gave_up
