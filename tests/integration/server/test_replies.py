"""Answers in steps: what goes wrong in one is told to its client, and what waits stays counted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from lambda_builder.precedence import Precedence
from lambda_builder.server import replies as module
from lambda_builder.server.replies import Begin, Replies
from lambda_builder.server.worker import Worker
from lambda_builder.steps import Steps, Work
from tests.waiting import wait_until


class Stuck:
    """Has been taken up, so that it cannot be given up."""

    seconds = 1.0

    def __init__(self) -> None:
        self.thens: list[Callable[[], object]] = []
        self.was_given_up = False

    def wait(self) -> None:
        """Be waited for by nobody."""

    def begin(self, then: Callable[[], object]) -> None:
        self.thens.append(then)

    def give_up(self) -> None:
        self.was_given_up = True


class House:
    """A worker with places for two connections, whose requests are begun as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            module, "Answer", lambda *_args, **_options: SimpleNamespace(environ={})
        )
        self.steps: Callable[[], Steps[Any]]
        self.threads = ThreadPoolExecutor(1)
        self.failed: list[str] = []
        self.finished: list[Any] = []
        self.called: list[str] = []
        self.told: list[dict[str, bool]] = []
        self.worker = SimpleNamespace(
            worker_connections=2,
            precedence=Precedence(),
            log=logging.getLogger(__name__),
            tpool=self.threads,
            wsgi=None,
            alive=True,
            cfg=SimpleNamespace(keepalive=5),
            method_queue=SimpleNamespace(defer=lambda _method: None),
            handle_error=lambda _request, _sock, _peer, error: self.failed.append(str(error)),
        )
        endings: Any = SimpleNamespace(flush=lambda _each: True, finish=self.finished.append)
        self.replies = Replies(
            self.worker,
            None,
            endings,
            begins=self._begins,
            streams_max=1,
        )

    def _begins(self, _method: str, path: str) -> Begin | None:
        self.called.append(path)
        return lambda _environ: Work(self.steps())

    def ask(self, path: str = "/") -> Any:
        sock = SimpleNamespace(discard=lambda: None)
        connection = SimpleNamespace(
            sock=sock, peer=None, is_kept=True, holds_bytes=False, watched_for=0
        )
        request = SimpleNamespace(method="POST", path=path, body=BytesIO(b"{}"))
        self.replies.answer(connection, request)  # type: ignore[arg-type]
        return connection

    def turn(self, serve: Callable[[float], None] = lambda _seconds: None) -> Any:
        """Return a worker's loop that takes turns around these replies, without clients."""
        worker: Any = Worker.__new__(Worker)
        worker.precedence = SimpleNamespace(resting=lambda **what: self.told.append(what))
        worker._replies = self.replies
        worker._waiting = SimpleNamespace(
            is_anybody_called=False, serve=serve, overdue=lambda _now: ()
        )
        worker._sweep_at = 0.0
        return worker.wait_for_and_dispatch_events


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House(monkeypatch)
    yield made
    made.replies.end()
    made.threads.shutdown()


@pytest.mark.parametrize("after", ["nothing", "a pause", "a thread"])
def test_a_step_that_fails_is_told_to_its_client_and_the_connection_goes_on(
    house: House, after: str
) -> None:
    stuck = Stuck()

    def steps() -> Steps[Any]:
        if after == "a pause":
            yield stuck
        elif after == "a thread":
            yield None
        raise ValueError("a fault of ours")

    house.steps = steps
    connection = house.ask()
    house.replies.begin_pauses()
    for then in stuck.thens:
        then()
    wait_until(lambda: house.replies.is_anything_to_do, "the answer")
    house.replies.take_back()
    assert house.failed == ["a fault of ours"]
    assert house.finished == [connection]
    assert not connection.is_kept


def test_what_could_not_be_given_up_still_counts_until_it_is_over(house: House) -> None:
    stuck = Stuck()

    def steps() -> Steps[Any]:
        yield stuck
        raise ValueError("over")

    house.steps = steps
    house.ask("/first")
    house.replies.begin_pauses()
    house.replies.give_up(float("inf"))
    assert stuck.was_given_up
    house.ask("/second")
    assert house.called == ["/first"], "half of the connections wait: others take a thread"
    [then] = stuck.thens
    then()
    house.replies.take_back()
    house.ask("/third")
    assert house.called == ["/first", "/third"]


def test_what_a_turn_has_read_waits_together_from_the_end_of_the_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    polled_for: list[float] = []

    def poll(_worker: object, seconds: float) -> None:
        polled_for.append(seconds)

    def serve(_seconds: float) -> None:
        if len(polled_for) == 1:
            house.ask("/first")
            house.ask("/second")
            assert not stuck.thens, "the first would be committed without the second"

    monkeypatch.setattr(ThreadWorker, "wait_for_and_dispatch_events", poll)
    house.worker.worker_connections = 8
    house.replies = Replies(house.worker, None, None, begins=house._begins, streams_max=1)

    def steps() -> Steps[Any]:
        yield stuck
        yield stuck

    house.steps = steps
    take_turn = house.turn(serve)
    take_turn(1.0)
    first, second = stuck.thens  # in the same turn, without another poll
    take_turn(1.0)
    assert stuck.thens == [first, second], "each begins once"
    first()
    take_turn(1.0)
    assert len(stuck.thens) == 3, "the next step waits, too"
    assert polled_for[1] > polled_for[2] == 0, "the loop slept before it began that"


def test_a_stream_counts_as_in_a_thread_only_until_it_begins(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    class Stream(SimpleNamespace):
        keeps_connection = is_stream = True

        def begin(self, _application: object, *, last: bool) -> None:
            """Answer with a stream."""

        def stream(self) -> None:
            assert over.wait(10)

    monkeypatch.setattr(module, "Answer", lambda *_args, **_options: Stream())
    monkeypatch.setattr(module, "QUICK_BYTES", 0)  # all in threads
    connection = house.ask()
    connection.sock.begin_stream = lambda _seconds: None
    connection.sock.end_stream = lambda: None
    assert house.replies.is_anything_in_threads
    wait_until(lambda: house.replies.is_anything_to_do, "the head of the stream")
    house.replies.take_back()
    assert not house.replies.is_anything_in_threads
    over.set()
    wait_until(lambda: house.replies.is_anything_to_do, "its end")
    house.replies.take_back()
    assert not house.replies.is_anything_in_threads
    assert house.finished == [connection]


def test_the_loop_tells_the_others_of_answers_in_threads(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(ThreadWorker, "wait_for_and_dispatch_events", lambda *_: answered.set())

    def steps() -> Steps[Any]:
        yield None
        assert answered.wait(10)
        raise ValueError("over")

    house.steps = steps
    take_turn = house.turn()
    house.ask()
    take_turn(1.0)
    wait_until(lambda: house.replies.is_anything_to_do, "the answer")
    take_turn(1.0)
    assert house.told == [{"waiting": False, "beside": True}, {"waiting": False, "beside": False}]


def test_an_answer_counts_as_in_a_thread_until_it_was_taken_back(house: House) -> None:
    answered = threading.Event()

    def steps() -> Steps[Any]:
        yield None
        assert answered.wait(10)
        raise ValueError("over")

    house.steps = steps
    assert not house.replies.is_anything_in_threads
    connection = house.ask()
    assert house.replies.is_anything_in_threads
    answered.set()
    wait_until(lambda: house.replies.is_anything_to_do, "the answer")
    assert house.replies.is_anything_in_threads
    house.replies.take_back()
    assert not house.replies.is_anything_in_threads
    assert house.finished == [connection]
