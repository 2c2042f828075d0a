"""The requests that are answered by a stream: watches and followed logs."""

from __future__ import annotations

from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.logstream import LogStreams
from lambda_builder.devcluster.objects import PODS
from lambda_builder.devcluster.rest import Reply, Rest
from lambda_builder.devcluster.routing import Route
from lambda_builder.devcluster.statuses import method_not_allowed
from lambda_builder.devcluster.tables import Tables
from lambda_builder.devcluster.watching import Watches


class Streams:
    """Answers what ``Rest`` does not. On the server's thread only."""

    def __init__(self, rest: Rest, watches: Watches, logs: LogStreams, tables: Tables) -> None:
        self._rest = rest
        self._watches = watches
        self._logs = logs
        self._tables = tables

    def answer(self, where: Route, request: Request) -> Reply | None:
        """None where the request asks for no stream."""
        resource = where.resource
        if resource is None:
            return None
        if resource is PODS and where.subresource == "log":
            if where.verb != "get":
                raise method_not_allowed()
            return self._logs.open(self._rest.find(where, resource), request)
        if where.verb == "watch" and not where.subresource:
            encode = self._tables.watch_encoder() if self._tables.wanted(request) else None
            return self._watches.open(where, resource, request, encode)
        if where.verb in ("get", "list") and self._tables.wanted(request):
            return self._tables.answer(where, request, resource, self._rest)
        return None
