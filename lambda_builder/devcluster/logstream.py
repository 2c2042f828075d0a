"""``pods/{name}/log``: what a container wrote, once or followed to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.objects import Json, Obj
from lambda_builder.devcluster.podlogs import PodLogs, PodRun
from lambda_builder.devcluster.rest import Answer, Reply
from lambda_builder.devcluster.selection import number
from lambda_builder.devcluster.server import Exchange
from lambda_builder.devcluster.statuses import bad_request

_TYPE = "text/plain"


class LogStreams:
    """Answers log requests. On the server's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, logs: PodLogs) -> None:
        self._loop = loop
        self._logs = logs

    def open(self, pod: Obj, request: Request) -> Reply:
        """Return the answer to a log request: text, or a stream while it is followed."""
        query = request.query
        tail = number(query, "tailLines")
        limit = number(query, "limitBytes")
        value = pod.decode()
        container = _container(value, query.get("container", ""))
        if request.flag("previous"):
            raise bad_request(
                f'previous terminated container "{container}" in pod "{pod.name}" not found'
            )
        run = self._logs.get(pod.key, container)
        if run is None:
            raise bad_request(_waiting(value, container))
        if request.flag("follow") and run.ended is None:
            return lambda exchange: Follower(self._loop, exchange, run, tail, limit).begin()
        text = _text(_tail(run.lines(), tail))
        return Answer(200, text if limit is None else text[:limit], _TYPE)


class Follower:
    """One log that is followed."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: Exchange,
        run: PodRun,
        tail: int | None,
        limit: int | None,
    ) -> None:
        self._loop = loop
        self._exchange = exchange
        self._run = run
        self._left = limit
        written = len(run.lines())
        self._told = 0 if tail is None else max(0, written - tail)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Send what is there and follow the rest."""
        self._exchange.on_close = self._stop
        self._exchange.start_stream(_TYPE)
        if self._run.followers is None:
            self._run.followers = []
        self._run.followers.append(self._tell)
        self._tell()

    def _tell(self) -> None:
        self._stop_timer()
        lines = self._run.lines()
        text = _text(lines[self._told :])
        self._told = len(lines)
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        self._exchange.write(text)
        if self._run.ended is not None or self._left == 0:
            self._stop()
            self._exchange.end_stream()
            return
        due = self._run.next_line_in()
        if due is not None:
            self._timer = self._loop.call_later(due, self._tell)

    def _stop(self) -> None:
        self._stop_timer()
        self._exchange.on_close = None
        followers: list[Callable[[], None]] = self._run.followers or []
        if self._tell in followers:
            followers.remove(self._tell)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _names(pod: Json, field: str) -> list[str]:
    return [container["name"] for container in pod["spec"].get(field, ())]


def _container(pod: Json, asked: str) -> str:
    name, main = pod["metadata"]["name"], _names(pod, "containers")
    if not asked and len(main) > 1:
        raise bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
        )
    if asked and asked not in main + _names(pod, "initContainers"):
        raise bad_request(f"container {asked} is not valid for pod {name}")
    return asked or main[0]


def _waiting(pod: Json, container: str) -> str:
    reason = "ContainerCreating"
    known = pod.get("status", {})
    for status in (
        *known.get("initContainerStatuses", ()),
        *known.get("containerStatuses", ()),
    ):
        if status["name"] == container:
            reason = status["state"].get("waiting", {}).get("reason", reason)
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        reason = "trying and failing to pull image"
    name = pod["metadata"]["name"]
    return f'container "{container}" in pod "{name}" is waiting to start: {reason}'


def _tail(lines: list[str], count: int | None) -> list[str]:
    return lines if count is None else lines[len(lines) - min(count, len(lines)) :]


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
