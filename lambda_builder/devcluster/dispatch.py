"""One request's way: log it, check who asks, let faults strike, answer."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable

from lambda_builder.devcluster import discovery
from lambda_builder.devcluster.admin import Admin
from lambda_builder.devcluster.faults import Fault, Faults
from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.objects import Json
from lambda_builder.devcluster.requestlog import Request as LogEntry
from lambda_builder.devcluster.requestlog import RequestLog
from lambda_builder.devcluster.rest import Answer, Reply, Rest
from lambda_builder.devcluster.routing import Route, route
from lambda_builder.devcluster.server import Exchange
from lambda_builder.devcluster.statuses import REASONS, ApiError, no_such_path, unauthorized

_OPEN_PATHS = ("version", "livez", "readyz", "healthz")
_TOO_MANY = b"Too many requests, please try again later.\n"


class Dispatcher:
    """Answers every request. On the server's thread only; ``token`` may be set at any time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rest: Rest,
        streams: Callable[[Route, Request], Reply | None],
        faults: Faults,
        log: RequestLog,
        admin: Admin,
        token: str | None,
    ) -> None:
        self.token = token
        self._loop = loop
        self._rest = rest
        self._streams = streams
        self._faults = faults
        self._log = log
        self._admin = admin
        self._held: set[Exchange] = set()

    def handle(self, exchange: Exchange) -> None:
        """Answer one exchange, now or later."""
        request = exchange.request
        where = route(request)
        if where.label == "devcluster":
            self._send(exchange, self._guarded(lambda: self._admin.answer(request)))
            return
        name = where.name or (_name_in_body(request.body) if where.verb == "create" else "")
        verb = _told_verb(where, request)
        entry = self._log.add(verb, where.label, name or None)
        struck = list(self._faults.for_request(verb, where.label, name)) if self._faults else []
        latency = sum(fault.seconds or 0.0 for fault in struck if fault.kind == "latency")
        fault = next((fault for fault in struck if fault.kind != "latency"), None)
        if latency > 0:
            self._loop.call_later(latency, self._proceed, exchange, where, entry, fault)
        else:
            self._proceed(exchange, where, entry, fault)

    def release(self) -> None:
        """Cut the requests that hang: the fault that held them is gone."""
        held, self._held = self._held, set()
        for exchange in held:
            exchange.cut()

    def _proceed(
        self, exchange: Exchange, where: Route, entry: LogEntry, fault: Fault | None
    ) -> None:
        if not exchange.open:
            return
        kind = fault.kind if fault is not None else ""
        if kind == "hang":
            self._hold(exchange)
        elif kind == "cut":
            exchange.cut()
        elif fault is not None and kind == "status":
            self._send(exchange, _faulty(fault), entry)
        else:
            reply = self._guarded(lambda: self._answer(where, exchange.request))
            if kind == "cut_after":
                exchange.cut()
            elif kind == "hang_after":
                self._hold(exchange)
            else:
                self._send(exchange, reply, entry)

    def _hold(self, exchange: Exchange) -> None:
        self._held.add(exchange)
        exchange.on_close = lambda: self._held.discard(exchange)

    def _guarded(self, answer: Callable[[], Reply]) -> Reply:
        try:
            return answer()
        except ApiError as error:
            return error_answer(error)
        except Exception as exc:  # noqa: BLE001 - one bad request must not end the server
            traceback.print_exc()
            return error_answer(ApiError(500, "InternalError", f"Internal error occurred: {exc}"))

    def _answer(self, where: Route, request: Request) -> Reply:
        if self.token is not None:
            given = request.headers.get("authorization")
            if given != f"Bearer {self.token}" and (given or where.label not in _OPEN_PATHS):
                raise unauthorized()
        if where.resource is None:
            found = discovery.answer(request)
            if found is None:
                raise no_such_path()
            return found
        if where.subresource and where.subresource not in where.resource.subresources:
            raise no_such_path()
        stream = self._streams(where, request)
        if stream is not None:
            return stream
        return self._rest.answer(where, request, where.resource)

    def _send(self, exchange: Exchange, reply: Reply, entry: LogEntry | None = None) -> None:
        if isinstance(reply, Answer):
            if entry is not None:
                entry.status = reply.code
            exchange.respond(reply.code, reply.body, reply.content_type, reply.headers)
        else:
            if entry is not None:
                entry.status = 200
            reply(exchange)


def error_answer(error: ApiError) -> Answer:
    """Return the answer that an error is told by."""
    return Answer(error.code, error.body(), headers=error.headers)


def _faulty(fault: Fault) -> Answer:
    code = fault.status or 500
    retry_after = fault.retry_after
    if code == 429:
        # API priority and fairness answers in plain text, not with a Status.
        retry_after = 1 if retry_after is None else retry_after
        body = fault.message.encode() if fault.message else _TOO_MANY
        headers = (("Retry-After", str(retry_after)), ("X-Content-Type-Options", "nosniff"))
        return Answer(429, body, "text/plain; charset=utf-8", headers)
    details: Json = {} if retry_after is None else {"retryAfterSeconds": retry_after}
    message = fault.message or f"devcluster: injected fault, status {code}"
    return error_answer(ApiError(code, REASONS.get(code, ""), message, details))


def _name_in_body(body: bytes) -> str:
    try:
        name = json.loads(body)["metadata"]["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""


def _told_verb(where: Route, request: Request) -> str:
    """Return the verb for faults and the record: a dry run creates nothing, and is told apart."""
    return "dry-run" if where.verb == "create" and request.query.get("dryRun") else where.verb
