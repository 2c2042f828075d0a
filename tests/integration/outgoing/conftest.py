"""Receivers that are well, and receivers that are meant to hold up whoever sends to them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message

import pytest

from lambda_builder.journal import MemoryOutbox, OutboxMessage
from lambda_builder.outgoing.sink import Sink
from tests.http_sink import HttpReceiver

STOP_SECONDS = 3.0


def make_message(number: object, *, key: str = "", destination: str = "sink") -> OutboxMessage:
    """Return a message with an ``id`` of its own, which is also its body."""
    name = f"message-{number}"
    return OutboxMessage(
        destination=destination,  # type: ignore[arg-type]
        key=key or name,
        headers={"ce-id": name, "content-type": "text/plain"},
        body=name.encode(),
        id=name,
    )


class Receiver(HttpReceiver):
    """Takes messages over real HTTP; ``answer`` says with which status, and may take its time."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.posts: list[str] = []
        self.at: list[float] = []
        self.answer: Callable[[str], int] = lambda _name: 202
        super().__init__()

    def take(self, headers: Message, body: bytes) -> int:
        name = body.decode()
        self.at.append(time.monotonic())
        self.posts.append(name)
        status = self.answer(name)
        if status < 300:
            self.taken.append(name)
        return status


class Trickler:
    """Answers each connection with ``head`` at once, then ``drip`` again and again for ever."""

    def __init__(self, head: bytes, drip: bytes, *, reads: bool = True) -> None:
        self._head, self._drip, self._reads = head, drip, reads
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._over.is_set():
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self._reads:
                connection.recv(65536)
                connection.sendall(self._head)
            while not self._over.wait(0.02):
                if self._reads:
                    connection.sendall(self._drip)

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def trickler() -> Iterator[Callable[..., Trickler]]:
    made: list[Trickler] = []

    def make(head: bytes, drip: bytes, **how: bool) -> Trickler:
        made.append(Trickler(head, drip, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


@pytest.fixture
def deliver(outbox: MemoryOutbox) -> Iterator[Callable[..., Sink]]:
    """Start a sink for some destinations; it is stopped at the end."""
    made: list[Sink] = []

    def make(**settings: object) -> Sink:
        urls = {n: settings.pop(n) for n in ("sink", "dead_letter") if n in settings}
        made.append(Sink(outbox, urls, **settings))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        assert each.stop(STOP_SECONDS) == []
