"""Sink: delivers the outbox's CloudEvents over HTTP, again and again until each is taken.

Per build the order is kept; no delivery holds up a worker, no destination another.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from lambda_builder.journal import Destination, Outbox
from lambda_builder.outgoing.delivery import SLOTS, Delivery
from lambda_builder.outgoing.exchange import Poster
from lambda_builder.outgoing.messages import HTTPMessage
from lambda_builder.precedence import Precedence
from lambda_builder.threads import join_all, stop_all

_HAND_OFF_CONCURRENCY = 16
"""Nothing else goes on by then, and there is little time."""


class Sink:
    """Delivers to one URL per destination; starts and stops as ``Background``."""

    def __init__(
        self,
        outbox: Outbox,
        urls: Mapping[Destination, str],
        *,
        may_send: Callable[[str], bool] = lambda _message_id: True,
        on_delivered: Callable[[str], None] = lambda _message_id: None,
        count: Callable[[Destination], None] = lambda _destination: None,
        rng: random.Random | None = None,
        precedence: Precedence | None = None,
    ) -> None:
        """``urls`` maps destinations (``sink``, ``dead_letter``) to where they are.

        ``may_send`` is asked about the ``id`` of each message at the last moment, and
        ``on_delivered`` told of it once it was taken; both have to be quick. ``count`` is called
        with the destination of each that was.
        """

        def delivered(destination: Destination, message_id: str) -> None:
            count(destination)
            on_delivered(message_id)

        precedence = precedence or Precedence()
        self._poster = Poster(max(2 * SLOTS, _HAND_OFF_CONCURRENCY), precedence.step_aside)
        self._deliveries = [
            Delivery(
                destination,
                url,
                outbox,
                self._poster,
                may_send=may_send,
                on_delivered=partial(delivered, destination),
                rng=rng,
                precedence=precedence,
            )
            for destination, url in urls.items()
            if url
        ]
        self._slots = [slot for delivery in self._deliveries for slot in delivery.slots]

    def start(self) -> None:
        """Begin to deliver."""
        for slot in self._slots:
            slot.start()

    def stop(self, timeout: float) -> list[str]:
        """Give what is due one more try within ``timeout`` seconds, then end.

        Returns the names of threads still alive. What is not delivered stays in the outbox.
        """
        for delivery in self._deliveries:
            delivery.end_at(time.monotonic() + timeout)
        alive = stop_all(self._slots, timeout)
        if not alive:
            self._poster.close()
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
                problem = self._poster.post(url, message.headers, message.body, seconds=left)
                if problem is None:
                    taken.add(key)
                else:
                    structlog.get_logger().warning("hand_off_failed", error=problem)

        threads = [
            threading.Thread(target=send, name=f"hand-off-{number}", daemon=True)
            for number in range(min(_HAND_OFF_CONCURRENCY, len(messages)))
        ]
        for thread in threads:
            thread.start()
        join_all(threads, max(0.0, deadline - time.monotonic()) + 0.1)
        return set(taken)
