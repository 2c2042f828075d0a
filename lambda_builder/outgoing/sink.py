"""Sink: delivers the outbox's CloudEvents over HTTP, again and again until each is taken.

Per build the order is kept; no delivery holds up a worker, and a receiver that is away costs a
bounded number of tries a minute.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.pool import ThreadPool

import requests
import structlog
import urllib3
from requests.adapters import HTTPAdapter

from lambda_builder.journal import Destination, Outbox, OutboxMessage
from lambda_builder.outgoing.messages import HTTPMessage
from lambda_builder.threads import Background, Backoff, join_all, stop_all

_BATCH = 64
_CONCURRENCY = 8
_IDLE_SECONDS = 5.0
"""Longest sleep while nothing is due and no news comes."""
_TROUBLE_SECONDS = 1.0
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_TIMEOUT = (3.05, 10.0)
"""Seconds to connect, and to wait for the answer."""


def _always(message_id: str) -> bool:
    del message_id
    return True


def _ignore(message_id: str) -> None:
    del message_id


class Sink:
    """Delivers to one URL per destination; starts and stops as ``Background``."""

    def __init__(
        self,
        outbox: Outbox,
        urls: Mapping[Destination, str],
        *,
        may_send: Callable[[str], bool] = _always,
        on_delivered: Callable[[str], None] = _ignore,
        rng: random.Random | None = None,
    ) -> None:
        """``urls`` maps destinations (``sink``, ``dead_letter``) to where they are.

        ``may_send`` is asked about the ``id`` of each message at the last moment, and
        ``on_delivered`` told of it once it was taken; both have to be quick.
        """
        self._outbox = outbox
        self._urls = {name: url for name, url in urls.items() if url}
        self._may_send = may_send
        self._on_delivered = on_delivered
        self._backoff = Backoff(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS, rng=rng)
        self._session = requests.Session()
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=_CONCURRENCY * 2)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._threads = [
            Background(f"deliver-{name}", partial(self._loop, name), wake=outbox.nudge)
            for name in self._urls
        ]

    def start(self) -> None:
        """Begin to deliver."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> list[str]:
        """Give what is due one more try within ``timeout`` seconds, then end.

        Returns the names of threads still alive. What is not delivered stays in the outbox.
        """
        alive = stop_all(self._threads, timeout)
        if not alive:
            self._session.close()
        return alive

    def post_all(
        self, url: str, messages: Mapping[str, HTTPMessage], *, deadline: float
    ) -> set[str]:
        """Send messages to ``url`` now, several at a time, until ``deadline`` (monotonic).

        Returns the keys of those that were taken.
        """
        taken: set[str] = set()
        waiting = deque(messages.items())

        def send() -> None:
            while waiting and (left := deadline - time.monotonic()) > 0:
                try:
                    key, message = waiting.popleft()
                except IndexError:
                    return
                timeout = (min(3.05, left), left)
                problem = self._post(url, message.headers, message.body, timeout)
                if problem is None:
                    taken.add(key)
                else:
                    structlog.get_logger().warning("hand_off_failed", error=problem)

        threads = [
            threading.Thread(target=send, name=f"hand-off-{number}", daemon=True)
            for number in range(min(_CONCURRENCY, len(messages)))
        ]
        for thread in threads:
            thread.start()
        join_all(threads, max(0.0, deadline - time.monotonic()) + 0.1)
        return set(taken)

    def _loop(self, destination: Destination, stopping: threading.Event) -> None:
        url = self._urls[destination]
        seen, last_round = 0, False
        # Of this pool the threads are daemons: one that hangs in a call does not hold up the exit.
        with ThreadPool(_CONCURRENCY) as posts:
            while not last_round:
                last_round = stopping.is_set()
                try:
                    if not self._round(destination, url, posts) and not last_round:
                        seen = self._outbox.wait_for_news(seen, self._rest(destination))
                except Exception:  # noqa: BLE001 - the outbox may be back in the next round
                    structlog.get_logger().exception("delivery_failed", destination=destination)
                    stopping.wait(_TROUBLE_SECONDS)

    def _rest(self, destination: Destination) -> float:
        """Seconds until something that was put off is due."""
        next_due = self._outbox.next_due(destination)
        if next_due is None:
            return _IDLE_SECONDS
        return min(_IDLE_SECONDS, max(0.0, next_due - self._outbox.now()))

    def _round(self, destination: Destination, url: str, posts: ThreadPool) -> bool:
        due = self._outbox.due(self._outbox.now(), _BATCH, destination)
        for entry, problem in zip(
            due, posts.map(lambda e: self._deliver(url, e), due), strict=True
        ):
            if problem is None:
                self._outbox.delivered(entry.id)
                self._on_delivered(entry.id)
            else:
                self._put_off(destination, entry, problem)
        return bool(due)

    def _deliver(self, url: str, entry: OutboxMessage) -> str | None:
        if not self._may_send(entry.id):
            return "not sent: another replica may be sending it"
        return self._post(url, entry.headers, entry.body, _TIMEOUT)

    def _put_off(self, destination: Destination, entry: OutboxMessage, problem: str) -> None:
        delay = self._backoff.pause(entry.attempts)
        structlog.get_logger().warning(
            "event_not_delivered",
            destination=destination,
            error=problem,
            attempts=entry.attempts + 1,
            retry_in_seconds=round(delay, 1),
        )
        self._outbox.failed(entry.id, self._outbox.now() + delay)

    def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: tuple[float, float]
    ) -> str | None:
        try:
            answer = self._session.post(
                url, data=body, headers=dict(headers), timeout=timeout, allow_redirects=False
            )
            answer.close()
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:300]
        if answer.ok and answer.status_code < 300:
            return None
        return f"HTTP {answer.status_code}"
