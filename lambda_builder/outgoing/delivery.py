"""Delivery: brings the outbox's messages for one destination there, several at a time.

No thread waits for another's exchange, and a destination that is away costs a few tries a minute
however much waits for it.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from lambda_builder.errors import Refused
from lambda_builder.journal import Destination, Outbox, OutboxMessage
from lambda_builder.outgoing.breaker import Breaker
from lambda_builder.outgoing.exchange import Poster
from lambda_builder.precedence import Precedence
from lambda_builder.threads import Background, Backoff

SLOTS = 8
"""Messages on their way at a time."""
_BATCH = 16
"""Messages taken out of the outbox at a time; each may be as large as an event."""
_EXCHANGE_SECONDS = 13.0
_LEAST_SECONDS = 0.1
_IDLE_SECONDS = 5.0
"""Longest sleep while nothing is due and no news comes."""
_LOOK_SECONDS = 0.5
"""How soon after what is due is all on its way it is seen that more has become due."""
_HELD_SECONDS = 0.2
"""The same where what is due waits behind another one of its key, as only its owner can see go."""
_TROUBLE_SECONDS = 1.0
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Turn:
    message: OutboxMessage
    finds_out: bool
    """Whether it is the one message that is sent to a destination which is away."""


class Delivery:
    """The threads of one destination; ``slots`` start and stop as ``Background``."""

    def __init__(
        self,
        destination: Destination,
        url: str,
        outbox: Outbox,
        poster: Poster,
        *,
        may_send: Callable[[str], bool],
        on_delivered: Callable[[str], None],
        rng: random.Random | None = None,
        precedence: Precedence,
    ) -> None:
        self._destination, self._url = destination, url
        self._outbox = outbox
        self._poster = poster
        self._may_send = may_send
        self._on_delivered = on_delivered
        self._precedence = precedence
        self._backoff = Backoff(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS, rng=rng)
        self._turnstile = threading.Lock()
        """Held by the one thread that looks, or waits, for the next message."""
        self._ready: deque[OutboxMessage] = deque()
        self._seen = 0
        self._unread = ""
        """Why the outbox cannot be read, as far as it was logged."""
        self._lock = threading.Lock()
        self._breaker = Breaker()
        self._on_their_way: set[str] = set()
        self._ends_at = math.inf
        self._last_try_left = True
        self.slots = [
            Background(f"deliver-{destination}-{number}", self._work, wake=outbox.nudge)
            for number in range(1, SLOTS + 1)
        ]

    def end_at(self, deadline: float) -> None:
        """Begin nothing after ``deadline``, on the monotonic clock; before the slots' stop.

        Until then what is due has one more try, and an absent destination one message.
        """
        self._ends_at = deadline

    # -- a slot --------------------------------------------------------------------------------

    def _work(self, stopping: threading.Event) -> None:
        while (turn := self._next(stopping)) is not None:
            try:
                with self._precedence.turn():
                    self._deliver(turn)
            except Exception:  # noqa: BLE001 - one bad message must not end the slot
                structlog.get_logger().exception("delivery_failed", destination=self._destination)
                self._put_off(turn)
            finally:
                with self._lock:
                    self._on_their_way.discard(turn.message.id)

    def _deliver(self, turn: _Turn) -> None:
        message, began = turn.message, time.monotonic()
        if not self._may_send(message.id):  # another replica may be sending it
            self._put_off(turn)
            return
        seconds = min(_EXCHANGE_SECONDS, max(_LEAST_SECONDS, self._ends_at - began))
        problem = self._poster.post(self._url, message.headers, message.body, seconds=seconds)
        if problem is not None:
            self._failed(turn, problem, time.monotonic() - began)
            return
        self._outbox.delivered(message.id)
        with self._lock:
            came_back = self._breaker.taken()
        if came_back:
            structlog.get_logger().warning("destination_back", destination=self._destination)
            self._outbox.nudge()
        self._on_delivered(message.id)

    def _put_off(self, turn: _Turn) -> None:
        """Have it sent later for a reason that says nothing of the destination."""
        message = turn.message
        if turn.finds_out:
            with self._lock:
                self._breaker.not_sent()
        self._outbox.failed(message.id, self._outbox.now() + self._backoff.pause(message.attempts))

    def _failed(self, turn: _Turn, problem: str, seconds: float) -> None:
        message = turn.message
        with self._lock:
            went_away = self._breaker.failed(message.id, tried=turn.finds_out)
            pause = self._breaker.wait()
        if turn.finds_out:
            # It may itself be the reason: the next tries are others', however many wait.
            self._outbox.failed(message.id, self._outbox.now())
        else:
            pause = self._backoff.pause(message.attempts)
            self._outbox.failed(message.id, self._outbox.now() + pause)
        structlog.get_logger().warning(
            "event_not_delivered",
            destination=self._destination,
            error=problem,
            attempts=message.attempts + 1,
            took_seconds=round(seconds, 1),
            retry_in_seconds=round(pause, 1),
        )
        if went_away:
            structlog.get_logger().warning("destination_away", destination=self._destination)
        self._outbox.nudge()

    # -- which message is next -----------------------------------------------------------------

    def _next(self, stopping: threading.Event) -> _Turn | None:
        """Return the next message once it may be sent; None when it is time to end."""
        with self._turnstile:
            while True:
                ending = stopping.is_set()
                try:
                    turn = self._take(ending)
                    if turn is not None or ending:
                        return turn
                    rest = self._rest()
                    self._unread = ""
                    self._seen = self._outbox.wait_for_news(self._seen, rest)
                except Exception as error:  # noqa: BLE001 - it may be back in the next round
                    self._tell_unread(error)
                    if ending:
                        return None
                    stopping.wait(_TROUBLE_SECONDS)

    def _tell_unread(self, error: Exception) -> None:
        log = structlog.get_logger().bind(destination=self._destination)
        if not isinstance(error, Refused):
            log.error("outbox_not_read", exc_info=error)
        elif error.detail != self._unread:
            self._unread = error.detail
            log.warning("outbox_not_read", reason=error.detail)

    def _take(self, ending: bool) -> _Turn | None:
        if ending and time.monotonic() >= self._ends_at:
            return None
        with self._lock:
            away, wait = self._breaker.away, self._breaker.wait()
            if ending and math.isfinite(wait) and self._last_try_left:
                wait, self._last_try_left = 0.0, not away
        if wait > 0:
            return None
        if away:
            self._ready.clear()
        if not self._ready:
            self._fetch()
        if not self._ready:
            return None
        message = self._ready.popleft()
        with self._lock:
            self._on_their_way.add(message.id)
            if away:
                self._breaker.try_one()
        return _Turn(message, away)

    def _fetch(self) -> None:
        with self._lock:  # before the query: what arrives meanwhile is still on its way for it
            on_their_way = set(self._on_their_way)
        limit = _BATCH + len(on_their_way)
        due = self._outbox.due(self._outbox.now(), limit, self._destination)
        self._ready.extend(message for message in due if message.id not in on_their_way)

    def _rest(self) -> float:
        """Return the seconds until there is something to look for."""
        with self._lock:
            wait, on_their_way = self._breaker.wait(), bool(self._on_their_way)
        if wait > 0:
            return min(wait, _IDLE_SECONDS)
        next_due = self._outbox.next_due(self._destination)
        if next_due is None:
            return _IDLE_SECONDS
        pause = next_due - self._outbox.now()
        if on_their_way:
            pause = max(pause, _LOOK_SECONDS)
        return min(_IDLE_SECONDS, pause if pause > 0 else _HELD_SECONDS)
