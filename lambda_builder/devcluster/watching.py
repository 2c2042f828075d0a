"""Watches: changes told as they happen, from a given revision on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from lambda_builder.devcluster.faults import Faults
from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.objects import Json, Obj, Resource, dumps
from lambda_builder.devcluster.routing import Route
from lambda_builder.devcluster.selection import Selector, number, parse, revision
from lambda_builder.devcluster.server import Exchange
from lambda_builder.devcluster.statuses import ApiError, Cause, expired, invalid
from lambda_builder.devcluster.store import Change, Collection, Store, watch_line

# Encodes one event; tables are made row by row, plain objects once for all watches.
Encode = Callable[[str, Obj, Change | None], bytes]


class Watches:
    """All open watches. On the server's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        faults: Faults,
        bookmark_seconds: float,
    ) -> None:
        self._loop = loop
        self._store = store
        self._faults = faults
        self._bookmark_seconds = bookmark_seconds
        self._open: set[Watch] = set()

    def open(
        self, where: Route, resource: Resource, request: Request, encode: Encode | None
    ) -> Callable[[Exchange], None]:
        """Read what is asked for; the result starts the stream."""
        query = request.query
        selector = parse(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if where.name:
            named = parse("", f"metadata.name={where.name}")
            selector = Selector(selector.labels, selector.fields + named.fields)
        if request.flag("sendInitialEvents"):
            raise _no_watch_list(resource)
        since = revision(query, self._store.rv)
        # Without a wish the real server takes a random time, so that watches do not end together.
        timeout = float(number(query, "timeoutSeconds") or random.uniform(1800, 3600))

        def start(exchange: Exchange) -> None:
            watch = Watch(
                self._loop,
                exchange,
                self._store,
                resource,
                where.namespace,
                selector,
                encode or _plain,
            )
            self._open.add(watch)
            watch.on_end = self._open.discard
            watch.begin(since)
            if watch.ended:
                return
            if self._faults.for_watch(resource.plural) is not None:
                watch.expire()
                return
            if request.flag("allowWatchBookmarks"):
                watch.bookmark_every(self._bookmark_seconds, timeout)
            watch.end_after(timeout)

        return start

    def strike(self) -> None:
        """A fault was added: end the open watches that it hits."""
        for watch in tuple(self._open):
            if self._faults.for_watch(watch.resource.plural) is not None:
                watch.expire()


class Watch:
    """One open watch."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: Exchange,
        store: Store,
        resource: Resource,
        namespace: str,
        selector: Selector,
        encode: Encode,
    ) -> None:
        self.resource = resource
        self.on_end: Callable[[Watch], None] = _nothing
        self._loop = loop
        self._exchange = exchange
        self._store = store
        self._collection: Collection = store.of(resource)
        self._namespace = namespace
        self._selector = selector
        self._encode = encode
        self._pending: list[bytes] = []
        self._timers: list[asyncio.TimerHandle] = []
        self.ended = False

    def begin(self, since: int) -> None:
        """Tell what is there (revision 0) or what changed since, then go on."""
        self._exchange.on_close = self._stop
        self._exchange.start_stream("application/json")
        if since == 0:
            for obj in self._collection.select(self._namespace, self._selector):
                self._pending.append(self._encode("ADDED", obj, None))
        else:
            try:
                for change in self._collection.since(since):
                    self._take(change)
            except ApiError as error:
                self._fail(error)
                return
        self._flush()
        self._collection.listeners.append(self._take)

    def bookmark_every(self, seconds: float, timeout: float) -> None:
        """Tell the revision reached, now and then and shortly before the end."""

        def again() -> None:
            self._bookmark()
            self._timers[0] = self._loop.call_later(seconds, again)

        self._timers.append(self._loop.call_later(seconds, again))
        self._timers.append(self._loop.call_later(timeout * 0.95, self._bookmark))

    def end_after(self, seconds: float) -> None:
        """End the stream in ``seconds``, whatever it has told."""
        self._timers.append(self._loop.call_later(seconds, self._finish))

    def expire(self) -> None:
        """End with 410, as when the history does not go back far enough."""
        rv = self._store.rv
        self._fail(expired(f"too old resource version: {rv - 1} ({rv})"))

    def _take(self, change: Change) -> None:
        if self._namespace and change.obj.namespace != self._namespace:
            return
        if self._selector.empty:
            type, obj = change.type, change.obj
        else:
            type, obj = self._as_seen(change)
        if not type:
            return
        same = obj is change.obj and type == change.type
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(self._encode(type, obj, change if same else None))

    def _as_seen(self, change: Change) -> tuple[str, Obj]:
        """The change as one who only sees matching objects sees it; "" where it is none."""
        now = self._selector.matches(change.obj)
        if change.type != "MODIFIED" or change.old is None:
            return (change.type if now else ""), change.obj
        before = change.old.labels is change.obj.labels and not self._selector.fields
        before = now if before else self._selector.matches(change.old)
        if now:
            return ("MODIFIED" if before else "ADDED"), change.obj
        return ("DELETED", change.old.at(change.rv)) if before else ("", change.obj)

    def _bookmark(self) -> None:
        self._flush()
        value: Json = {
            "kind": self.resource.kind,
            "apiVersion": self.resource.api_version,
            "metadata": {"resourceVersion": str(self._store.rv), "creationTimestamp": None},
        }
        self._exchange.write(dumps({"type": "BOOKMARK", "object": value}) + b"\n")

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and not self.ended:
            self._exchange.write(b"".join(pending))

    def _fail(self, error: ApiError) -> None:
        self._flush()
        self._exchange.write(dumps({"type": "ERROR", "object": error.status()}) + b"\n")
        self._finish()

    def _finish(self) -> None:
        self._flush()
        self._stop()
        self._exchange.end_stream()

    def _stop(self) -> None:
        self.ended = True
        self._exchange.on_close = None
        for timer in self._timers:
            timer.cancel()
        if self._take in self._collection.listeners:
            self._collection.listeners.remove(self._take)
        self.on_end(self)
        self.on_end = _nothing


def _nothing(watch: Watch) -> None:
    """What is done at the end of a watch no one keeps."""


def _plain(type: str, obj: Obj, change: Change | None) -> bytes:
    return change.line() if change is not None else watch_line(type, obj)


def _no_watch_list(resource: Resource) -> ApiError:
    words = (
        "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate "
        "is enabled"
    )
    return invalid(resource, "", [Cause("sendInitialEvents", "FieldValueForbidden", words)])
