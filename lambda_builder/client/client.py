"""Client: what the service can be asked, one method each."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack
from urllib.parse import quote

from lambda_builder.builds import BuildState
from lambda_builder.client.errors import (
    ClientError,
    NotTheService,
    StillGoing,
    Unreachable,
    something_else,
)
from lambda_builder.client.stream import messages
from lambda_builder.client.transport import OnWait, Transport
from lambda_builder.client.values import (
    Accepted,
    Build,
    BuildPage,
    BulkOutcome,
    Change,
    Filters,
    Reset,
    Stats,
)
from lambda_builder.threads import Backoff

_SILENCE_SECONDS = 15.0
"""Of the changes: a dead connection, for the stats come every second."""
_LONGEST_PAUSE_SECONDS = 30.0
T = TypeVar("T")


class Client:
    """The service at ``url``; thread-safe. Every method raises ``ClientError`` where it fails.

    ``timeout`` is how long an answer may take, ``patience`` for how long busy answers (429, 503)
    and, where that is harmless, lost connections are tried again; ``on_wait`` is told before each
    pause. All in seconds.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        patience: float = 60.0,
        on_wait: OnWait = lambda error, seconds: None,
    ) -> None:
        self._transport = Transport(url, token, timeout=timeout, patience=patience, on_wait=on_wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._transport.url

    def close(self) -> None:
        """Close the connections; whoever waits to try again gives up."""
        self._transport.close()

    # -- events --------------------------------------------------------------------------------

    def send(self, event: Mapping[str, Any]) -> Accepted:
        """Send a CloudEvent in structured form; without an ``id`` it gets a fresh one.

        It is sent again under the same ``id``, so that however often it is delivered there is one
        build.
        """
        named = event if event.get("id") else {**event, "id": str(uuid.uuid4())}
        told = self.call(
            "POST",
            "/events",
            repeatable=True,
            data=json.dumps(named).encode(),
            headers={"Content-Type": "application/cloudevents+json"},
        )
        return self._read(Accepted.read, told)

    # -- reading -------------------------------------------------------------------------------

    def get(self, build_id: str) -> Build:
        """Return one build, by its Job's name or correlation ID."""
        return self._read(Build.read, self.call("GET", _path(build_id), repeatable=True))

    def page(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[Filters]
    ) -> BuildPage:
        """Return some builds, newest first; ``limit`` at most 500."""
        parameters = {**_given(filters), "limit": limit, "cursor": cursor}
        told = self.call("GET", "/async-jobs", repeatable=True, params=parameters)

        def read(page: Mapping[str, Any]) -> BuildPage:
            items = tuple(map(Build.read, page["items"]))
            return BuildPage(items=items, next_cursor=page["next_cursor"])

        return self._read(read, told)

    def list(self, *, page_size: int = 500, **filters: Unpack[Filters]) -> Iterator[Build]:
        """Return all builds that the filters mean, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.page(limit=page_size, cursor=cursor, **filters)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def stats(self) -> Stats:
        """Return what the service counts."""
        return self._read(Stats.read, self.call("GET", "/async-jobs/stats", repeatable=True))

    def wait(
        self,
        build_id: str,
        timeout: float | None = None,
        *,
        on_change: Callable[[Build], object] = lambda build: None,
    ) -> Build:
        """Return a build once it has ended, however it did.

        ``on_change`` is told of it at first and whenever its state is another. Raises
        ``StillGoing`` after ``timeout`` seconds, or once the client is closed.
        """
        begun, backoff, seen = time.monotonic(), Backoff(0.2, 2.0, jitter=0.2), ""
        looks = 0
        while True:
            build = self.get(build_id)
            if build.state != seen:
                seen, looks = build.state, 0
                on_change(build)
            if build.state.final:
                return build
            pause = backoff.pause(looks)
            looks += 1
            if timeout is not None and time.monotonic() - begun + pause > timeout:
                raise StillGoing(f"{build.job_name} is {build.state} after {timeout:g} seconds")
            if self._transport.pause(pause):
                raise StillGoing(f"{build.job_name} is {build.state}, and the client is closed")

    def logs(self, build_id: str, *, follow: bool = False) -> Iterator[bytes]:
        """Return a build's log bit by bit; ``follow`` until the build ends."""
        # A build may be silent for as long as it likes: only connecting has a limit then.
        answer = self._transport.request(
            "GET",
            f"{_path(build_id)}/logs",
            repeatable=True,
            silence=None if follow else 0,
            stream=True,
            params={"follow": "true"} if follow else {},
        )
        with closing(answer), self._transport.reading():
            yield from answer.iter_content(None)

    def changes(self) -> Iterator[Change | Stats | Reset]:
        """Return what changes from now on: each change of a build, and the stats every second.

        Goes on where it was after a lost connection, the later the more often there was nothing;
        ``Reset`` where that cannot be.
        """
        last_id, pause, in_vain = "", 0.0, 0
        backoff = Backoff(1.0, _LONGEST_PAUSE_SECONDS)
        while not self._transport.pause(pause):
            answer = self._transport.request(
                "GET",
                "/async-jobs/changes",
                repeatable=True,
                silence=_SILENCE_SECONDS,
                stream=True,
                headers={"Accept": "text/event-stream", "Last-Event-ID": last_id or None},
            )
            with suppress(Unreachable), closing(answer), self._transport.reading():
                for message in messages(answer.iter_content(None)):
                    last_id, in_vain = message.last_id, 0
                    yield self._read(_change, {"kind": message.kind, "data": message.data})
            pause = backoff.pause(in_vain)
            in_vain += 1

    # -- steering ------------------------------------------------------------------------------

    def cancel(self, build_id: str) -> Build:
        """Cancel a build: out of the queue, or its Job deleted with its pods."""
        return self._read(Build.read, self.call("DELETE", _path(build_id)))

    def retry(self, build_id: str) -> Build:
        """Let a dead or failed build go again."""
        return self._read(Build.read, self.call("POST", f"{_path(build_id)}/retry"))

    def cancel_all(
        self, *, dry_run: bool = False, everything: bool = False, **filters: Unpack[Filters]
    ) -> BulkOutcome:
        """Cancel the builds that the filters mean, at most 1,000; ``dry_run`` only counts them.

        ``everything`` is needed where no filter is given.
        """
        return self._steer("cancel", dry_run, everything, filters)

    def retry_all(
        self, *, dry_run: bool = False, everything: bool = False, **filters: Unpack[Filters]
    ) -> BulkOutcome:
        """Let the dead and failed builds that the filters mean go again, as ``cancel_all``."""
        return self._steer("retry", dry_run, everything, filters)

    def _steer(self, action: str, dry_run: bool, everything: bool, filters: Filters) -> BulkOutcome:
        empty = [name for name, value in filters.items() if value == ""]
        if empty:  # an unset variable must not mean all builds
            raise ClientError(f"{empty[0]} is empty: leave it out to mean any")
        wanted = {"dry_run": dry_run, "all": everything}
        flags = {name: "true" for name, value in wanted.items() if value}
        path = f"/async-jobs/{action}"
        told = self.call("POST", path, params={**_given(filters), **flags})
        return self._read(BulkOutcome.read, told)

    # -- anything ------------------------------------------------------------------------------

    def call(
        self, method: str, path: str, *, repeatable: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Return the JSON object that the service answers with to any other request.

        ``options`` are those of ``requests``; ``repeatable`` where it is harmless to send it
        twice.
        """
        answer = self._transport.request(method, path, repeatable=repeatable, **options)
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise something_else(self.url, answer)
        return told

    def _read(self, read: Callable[[Mapping[str, Any]], T], told: Mapping[str, Any]) -> T:
        try:
            return read(told)
        except (ValueError, TypeError, KeyError) as error:
            raise NotTheService(
                f"{self.url} answered what this client does not understand: {error!r}"
            ) from error


def _change(message: Mapping[str, str]) -> Change | Stats | Reset:
    if message["kind"] == "reset":
        return Reset()
    told = json.loads(message["data"])
    if "job_name" in told:
        return Change(told["job_name"], BuildState(told["state"]), told)
    return Stats.read(told)


def _given(filters: Filters) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value not in (None, (), [], "")}


def _path(build_id: str) -> str:
    return f"/async-jobs/{quote(build_id, safe='')}"
