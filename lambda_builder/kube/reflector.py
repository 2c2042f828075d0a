"""Reflector: keeps a copy of a collection current: pages of a list, then a watch, for ever.

Written on the raw stream, because ``kubernetes.watch`` and ``SharedInformer`` keep every object
whole, do not page, ignore bookmarks and call an API that refuses connections without a pause.
Spec: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import structlog

from lambda_builder.errors import AttemptFailed, FailureReason, Permanent, Transient
from lambda_builder.jsontext import load_answer
from lambda_builder.kube.client import KubeClient, Query
from lambda_builder.kube.errors import Gone
from lambda_builder.kube.streams import OpenStream
from lambda_builder.threads import Background, Backoff

Object = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_FIRST_BACKOFF_SECONDS = 0.25
_LONGEST_BACKOFF_SECONDS = 5.0
_REFUSED_BACKOFF_SECONDS = 20.0
"""Pause after a refusal that only a change of permissions ends."""
_RELIST_AFTER = 5
"""Watches in a row that were refused, before everything is listed again."""
_NO_ANSWER = frozenset({FailureReason.CONNECTION, FailureReason.TIMEOUT})
_SHORT_WATCH_SECONDS = 1.0
_PAGE_PAUSE_SECONDS = 0.01
"""After each page of a long list others get to use the processor."""
_LOOK_SECONDS = 0.25
_WATCH_JITTER = 0.2


class Reflector(ABC):
    """Lists and watches one collection; starts and stops as ``Background``.

    A subclass keeps the copy: its own thread calls ``list_begins``, ``page``, ``list_ends`` and
    ``event``, and nobody else does.
    """

    page_size = 500
    watch_seconds = 300.0
    """How long a watch lasts, more or less a fifth."""
    silence_seconds = 90.0
    """How long a watch may be silent; API servers send a bookmark every minute."""

    def __init__(
        self,
        client: KubeClient,
        path: str,
        label_selector: str,
        *,
        name: str,
        available: Callable[[], bool],
    ) -> None:
        """While ``available`` says no, nothing is requested."""
        self._client = client
        self._path = path
        self._selector = label_selector
        self._name = name
        self._available = available
        self._rng = random.Random()  # noqa: S311 - jitter
        self._backoff = Backoff(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS, rng=self._rng)
        self._stream = OpenStream()
        self._thread = Background(name, self._loop, wake=self._stream.close)
        self._stopping = self._thread.stopping
        self._version = ""
        """Where the watch goes on; empty when only a list can tell."""
        self._failures = 0
        self._synced = threading.Event()
        self._following = False

    # -- start and stop ------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; does nothing after ``stop``."""
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread, also out of a read that blocks; only an unanswered request holds it up.

        Returns its name if it is still alive after ``timeout`` seconds.
        """
        return self._thread.stop(timeout)

    @property
    def synced(self) -> bool:
        """Whether a whole list has been read since the start."""
        return self._synced.is_set()

    @property
    def following(self) -> bool:
        """Whether the copy is current, as far as is known."""
        return self._following

    # -- the copy ------------------------------------------------------------------------------

    @abstractmethod
    def list_begins(self) -> None:
        """Pages follow; an earlier list that did not end counts for nothing."""

    @abstractmethod
    def page(self, objects: Sequence[Object]) -> None:
        """Take a part of the list."""

    @abstractmethod
    def list_ends(self) -> None:
        """Everything was in the pages; what was not is gone."""

    @abstractmethod
    def event(self, kind: EventType, obj: Object) -> None:
        """Take one change, in the order in which they happened."""

    # -- the thread ----------------------------------------------------------------------------

    def _loop(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._watch()
            except Gone as gone:
                self._version = ""
                self._interrupted(gone)
            except AttemptFailed as error:
                self._interrupted(error)
            except Exception as error:  # noqa: BLE001 - the copy may be wrong now: list again
                self._version = ""
                structlog.get_logger().exception("watch_broken", watch=self._name)
                self._interrupted(Transient(FailureReason.API_ERROR, repr(error)))
        self._following = False

    def _list(self) -> None:
        self.list_begins()
        query: Query = {"labelSelector": self._selector, "limit": self.page_size}
        for page in self._client.pages(f"list_{self._plural}", self._path, query):
            with self._client.precedence.turn():
                self.page(page.get("items") or ())
            if self._stopping.wait(_PAGE_PAUSE_SECONDS):
                return
        self.list_ends()
        self._version = str((page.get("metadata") or {}).get("resourceVersion") or "")
        self._synced.set()

    def _watch(self) -> None:
        seconds = self.watch_seconds * self._rng.uniform(1 - _WATCH_JITTER, 1 + _WATCH_JITTER)
        query: Query = {
            "labelSelector": self._selector,
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            "timeoutSeconds": max(1, round(seconds)),
        }
        if self._stopping.is_set():
            return
        stream = self._client.stream(
            f"watch_{self._plural}", self._path, query, read_timeout=self.silence_seconds
        )
        began = time.monotonic()
        with self._stream.reading(stream):
            if self._stopping.is_set():
                return
            self._resumed()
            for lines in stream.lines():
                with self._client.precedence.turn():
                    for line in lines:
                        self._take(line)
                        self._failures = 0
        if time.monotonic() - began < _SHORT_WATCH_SECONDS:
            # Ended as soon as it began: without a pause that would be a storm.
            raise Transient(FailureReason.API_ERROR, "the watch was ended at once")

    def _take(self, line: bytes) -> None:
        try:
            event = load_answer(line)
            kind, obj = event["type"], event["object"]
        except (ValueError, KeyError, TypeError) as error:
            raise Transient(
                FailureReason.API_ERROR, f"the watch sent what is no event: {line[:80]!r}"
            ) from error
        if kind == "ERROR":
            raise _status_error(obj)
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            self.event(kind, obj)
        # A bookmark is an object that has nothing but its version.
        self._version = str(obj["metadata"]["resourceVersion"])

    # -- interruptions -------------------------------------------------------------------------

    def _resumed(self) -> None:
        if not self._following:
            self._following = True
            structlog.get_logger().info("watch_following", watch=self._name)

    def _interrupted(self, error: AttemptFailed) -> None:
        if self._stopping.is_set():
            return
        if self._failures > 0 or not isinstance(error, Gone):
            # One 410 is the API's way to ask for a new list, and nothing to report.
            self._report(error)
        delay = self._delay(error)
        self._failures += 1
        if self._failures % _RELIST_AFTER == 0 and error.reason not in _NO_ANSWER:
            # It answers, but not to this version: it may come from another life of its storage.
            self._version = ""
        self._stopping.wait(delay)
        while not self._available() and not self._stopping.wait(_LOOK_SECONDS):
            pass

    def _report(self, error: AttemptFailed) -> None:
        if self._following or isinstance(error, Permanent):
            structlog.get_logger().warning(
                "watch_interrupted", watch=self._name, reason=error.reason.value, error=str(error)
            )
        self._following = False

    def _delay(self, error: AttemptFailed) -> float:
        if isinstance(error, Permanent):
            return self._rng.uniform(0.5, 1.0) * _REFUSED_BACKOFF_SECONDS
        delay = self._backoff.pause(self._failures)
        asked = error.retry_after if isinstance(error, Transient) else None
        return max(delay, asked or 0.0)

    @property
    def _plural(self) -> str:
        return self._path.rpartition("/")[2]


def _status_error(status: Object) -> AttemptFailed:
    message = f"the watch ended: {status.get('message') or status.get('reason') or status}"
    if status.get("code") == 410:
        return Gone(FailureReason.API_ERROR, message)
    return Transient(FailureReason.API_ERROR, message)
