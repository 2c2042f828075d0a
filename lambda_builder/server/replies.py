"""Requests answered: by the loop in steps that are soon done, or in a thread."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from lambda_builder.precedence import Precedence
from lambda_builder.server.answering import Answer
from lambda_builder.server.connection import Connection
from lambda_builder.server.ending import ANSWER_SECONDS, Endings
from lambda_builder.steps import Pause, Work

QUICK_BYTES = 16_384
"""Largest body of a request that the loop answers: a batch of a hundred small events."""

Begin = Callable[[dict[str, Any]], Work[Any]]
"""Begins the answer to a request (PEP 3333's ``environ``); its result is sent by ``send``."""
Begins = Callable[[str, str], Begin | None]
"""Returns what begins the answer to a request of that method and path; None: it takes a thread."""


class Replies:
    """The answers under way. What has no leading underscore is used by the worker's loop only.

    The worker's application is called in a thread, unless ``begins`` says how to go on in steps. An
    answer that is a stream, which may last, gets one of ``streams_max`` threads of their own.
    """

    def __init__(
        self, worker: Any, cfg: Any, endings: Endings, *, begins: Begins, streams_max: int
    ) -> None:
        self._worker = worker
        self._cfg = cfg
        self._precedence: Precedence = worker.precedence
        self._endings = endings
        self._begins = begins
        self._streams = ThreadPoolExecutor(streams_max, "stream")
        self._given_back: deque[Callable[[], object]] = deque()
        """How to go on."""
        self._is_woken = False
        self._pauses: dict[Pause, float] = {}
        """What answers wait for, and until when."""
        self._to_begin: list[tuple[Pause, Callable[[], object]]] = []
        """Pauses that begin together when this turn of the loop ends."""
        self._pauses_max = max(1, worker.worker_connections // 2)
        """Beyond, answers take the way of threads, where more is refused: others must get in."""
        self._in_threads = 0
        """Answers that threads work on, but for streams."""

    def answer(self, connection: Connection, request: Any) -> None:
        """Answer a whole request; goes on by ``take_back``."""
        self._precedence.answering()
        begin = self._begin(request)
        if begin is None:
            self._submit(self._answer_in_thread, connection, request)
            return
        try:
            answer = Answer(connection, request, cfg=self._cfg, log=self._worker.log)
            work = begin(answer.environ)
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            self._fail(connection, request, error)
        else:
            self._take_step(connection, request, answer, work)

    def _begin(self, request: Any) -> Begin | None:
        if request.body.getbuffer().nbytes > QUICK_BYTES:
            return None
        if len(self._pauses) >= self._pauses_max:
            return None
        return self._begins(request.method, request.path)

    @property
    def is_anything_to_do(self) -> bool:
        """Whether ``take_back`` or ``begin_pauses`` has something to do."""
        return bool(self._given_back or self._to_begin)

    @property
    def is_anything_paused(self) -> bool:
        """Whether answers wait for something, which calls them back."""
        return bool(self._pauses)

    @property
    def is_anything_in_threads(self) -> bool:
        """Whether threads work on answers, or have not given them back."""
        return self._in_threads > 0

    def take_back(self) -> None:
        """Go on with what was answered or waited for: a stream, what is left, the next request."""
        self._is_woken = False  # first: what is given back from now on wakes the loop again
        if self._given_back:
            self._precedence.answering()
        while self._given_back:
            self._given_back.popleft()()

    def begin_pauses(self) -> None:
        """Begin what answers wait for; to be called once in a turn of the loop, at its end.

        Before ``give_up``: what is given up before it begins may never be over. So the journal's
        thread is woken for a turn's events together, not for each of them, and commits them
        together however fast its disk is.
        """
        to_begin, self._to_begin = self._to_begin, []
        for pause, then in to_begin:
            pause.begin(then)

    def give_up(self, now: float) -> None:
        """Wait no longer for what takes too long by ``now``, of the monotonic clock."""
        for pause in [each for each, until in self._pauses.items() if until <= now]:
            self._pauses[pause] = math.inf  # it still counts: what has begun goes on
            pause.give_up()

    def end(self) -> None:
        """Wait for no stream, and wake the loop no more."""
        self._is_woken = True
        self._streams.shutdown(wait=False)

    # -- in steps --------------------------------------------------------------------------------

    def _take_step(
        self, connection: Connection, request: Any, answer: Answer, work: Work[Any]
    ) -> None:
        try:
            pause = work.go_on()
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            self._fail(connection, request, error)
            return
        if pause is not None:
            self._pauses[pause] = time.monotonic() + pause.seconds
            then = partial(self._is_over, pause, connection, request, answer, work)
            self._to_begin.append((pause, then))
        elif work.is_over:
            self._send_result(connection, request, answer, work)
            self._given_back.append(partial(self._endings.finish, connection))
        else:
            self._submit(self._finish_in_thread, connection, request, answer, work)

    def _fail(self, connection: Connection, request: Any, error: Exception) -> None:
        self._failed(connection, request, error)
        self._given_back.append(partial(self._endings.finish, connection))

    def _is_over(self, pause: Pause, *rest: Any) -> None:
        """Let the loop go on after a pause; from any thread."""
        self._given_back.append(partial(self._resume, pause, *rest))
        self._wake()

    def _resume(self, pause: Pause, *rest: Any) -> None:
        self._pauses.pop(pause, None)
        self._take_step(*rest)

    def _send_result(
        self, connection: Connection, request: Any, answer: Answer, work: Work[Any]
    ) -> None:
        try:
            self._send(connection, answer, lambda _, start: work.result.send(start))
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            self._failed(connection, request, error)

    # -- in threads ------------------------------------------------------------------------------

    def _submit(self, answer: Callable[..., object], *rest: Any) -> None:
        self._in_threads += 1
        self._worker.tpool.submit(answer, *rest)

    def _leave_thread(self, go_on: Callable[[], object]) -> None:
        self._in_threads -= 1
        go_on()

    def _answer_in_thread(self, connection: Connection, request: Any) -> None:
        stream = None
        try:
            with self._precedence.exempt():
                stream = self._answer(connection, request)
        finally:
            self._give_back(connection, stream)

    def _answer(self, connection: Connection, request: Any) -> Answer | None:
        """Answer, but for a stream, which is returned."""
        try:
            answer = Answer(connection, request, cfg=self._cfg, log=self._worker.log)
            if self._send(connection, answer, self._worker.wsgi):
                return answer
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            self._failed(connection, request, error)
        return None

    def _finish_in_thread(
        self, connection: Connection, request: Any, answer: Answer, work: Work[Any]
    ) -> None:
        try:
            with self._precedence.exempt():
                work.finish()
            self._send_result(connection, request, answer, work)
        except Exception as error:  # noqa: BLE001 - told to the client and in the log
            self._failed(connection, request, error)
        finally:
            self._give_back(connection, None)

    def _stream(self, connection: Connection, answer: Answer) -> None:
        """Send a stream from a thread of its own."""
        connection.sock.begin_stream(ANSWER_SECONDS)
        try:
            with self._precedence.exempt():
                answer.stream()
        except OSError as error:
            connection.is_kept = False
            self._worker.log.debug("The stream's client is gone: %s", error)
        except Exception:
            connection.is_kept = False
            self._worker.log.exception("A stream failed")
        connection.sock.end_stream()
        self._given_back.append(partial(self._endings.finish, connection))
        self._wake()

    def _give_back(self, connection: Connection, stream: Answer | None) -> None:
        """Let the loop go on, from a thread; where it is the client's turn it may sleep."""
        if stream is not None:
            send = partial(self._streams.submit, self._stream, connection, stream)
            self._given_back.append(partial(self._leave_thread, send))
            self._wake()
            return
        is_clients_turn = connection.is_kept and not connection.holds_bytes
        finish = partial(self._endings.finish, connection)
        self._given_back.append(partial(self._leave_thread, finish))
        # Asked last: what is watched wakes the loop by itself, with the client's next byte.
        if not (is_clients_turn and connection.watched_for):
            self._wake()

    def _wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._worker.method_queue.defer(self.take_back)

    # -- in both ---------------------------------------------------------------------------------

    def _send(
        self, connection: Connection, answer: Answer, application: Callable[..., Any]
    ) -> bool:
        """Send what the application answers, unless that is a stream; returns whether it is."""
        is_last = not (self._worker.alive and self._worker.cfg.keepalive)
        answer.begin(application, last=is_last)
        connection.is_kept = answer.keeps_connection
        if answer.is_stream:
            return True
        self._endings.flush(connection)
        return False

    def _failed(self, connection: Connection, request: Any, error: Exception) -> None:
        connection.is_kept = False
        connection.sock.discard()
        self._worker.handle_error(request, connection.sock, connection.peer, error)
        self._endings.flush(connection)
