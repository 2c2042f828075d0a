"""Which requests came in, as an audit log would have them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, replace

from lambda_builder.devcluster.objects import Json

_LIMIT = 100_000


@dataclass(slots=True)
class Request:
    """One request: when it came (seconds since the epoch), what for, and the answer's status.

    ``status`` is 0 while, and if, nothing was answered. ``name`` is None where there is none.
    """

    time: float
    verb: str
    resource: str
    name: str | None
    status: int


class RequestLog:
    """The last requests, newest last. On the server's thread only."""

    def __init__(self) -> None:
        self._entries: deque[Request] = deque(maxlen=_LIMIT)

    def add(self, verb: str, resource: str, name: str | None) -> Request:
        """Record a request; its status is filled in once there is one."""
        entry = Request(time.time(), verb, resource, name, 0)
        self._entries.append(entry)
        return entry

    def copies(self) -> list[Request]:
        """Return copies of the entries."""
        return [replace(entry) for entry in self._entries]

    def describe(self) -> list[Json]:
        """Return the entries as JSON."""
        return [asdict(entry) for entry in self._entries]

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()
