"""One HTTP request to the Kubernetes API, raw: dicts go out, dicts come back, errors are ours.

The official client knows where the API is, whom it trusts and as whom we come. Its typed methods
would rebuild every body as models, at a price, and drop fields that they do not know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from kubernetes.client import ApiClient
from urllib3.util import parse_url

from lambda_builder import __version__
from lambda_builder.errors import (
    BootError,
    FailureReason,
    LambdaBuilderError,
    NotSent,
    Permanent,
    Transient,
    Unreachable,
)
from lambda_builder.http_exchange import Answer, OpenAnswer, Origin
from lambda_builder.jsontext import dump_utf8, load_answer
from lambda_builder.kube.credentials import load_configuration
from lambda_builder.kube.errors import CONNECTION_ERRORS, translate, unreachable
from lambda_builder.kube.streams import ByteStream
from lambda_builder.precedence import Precedence
from lambda_builder.settings import Settings

PROBE_PATH = "/livez"
"""Open to every authenticated user, and fails when etcd does."""
PROBE_TIMEOUT_SECONDS = 2.0
MERGE_PATCH = "application/merge-patch+json"
_SPARE_CONNECTIONS = 8
"""Connections kept for those that are no workers: reads over HTTP, the probe, the watch."""
_LEAST_TIMEOUT_SECONDS = 0.05

Observe = Callable[[str, str, float], None]
"""Told of every request: operation, code (an HTTP status or ``error``), seconds."""
Query = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class _Request:
    operation: str
    method: str
    path: str
    query: Query | None = None
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"
    timeout: float | None = None
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class _Connection:
    """The API as one reading of the configuration says."""

    client: Any
    origin: Origin
    path: str
    """What the path of each request begins with."""

    def headers(self, request: _Request) -> dict[str, str]:
        headers = {
            **self.client.default_headers,
            "Accept": "application/json, */*;q=0.5",
            "Accept-Encoding": "identity",
        }
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        self.client.update_params_for_auth(
            headers, [], ["BearerToken"], request.path, request.method, None
        )
        return headers


class KubeClient:
    """Connection to one Kubernetes API. Thread-safe.

    Every request ends after ``KUBE_API_TIMEOUT_SECONDS`` at the latest, and by the deadline once
    one is set. Nothing is retried, but for one 401: credentials are read again before.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        *,
        timeout_seconds: float,
        observe: Observe = lambda *_: None,
        precedence: Precedence | None = None,
    ) -> None:
        """Connect as the ``Configuration`` that ``load`` returns says; ``load`` is called again
        when it may have changed. A request is a turn of ``precedence``, but for the time that it
        waits. Raises ``BootError`` where ``load`` does."""
        self._load = load
        self._timeout = timeout_seconds
        self._observe = observe
        self.precedence = precedence or Precedence()
        self._deadline: float | None = None
        self._reloading = threading.Lock()
        self._api = self._connect()

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        observe: Observe = lambda *_: None,
        precedence: Precedence | None = None,
    ) -> KubeClient:
        """Connect by KUBECONFIG, the default kubeconfig or the pod's service account.

        Raises ``BootError`` that says what was tried. Nothing is sent yet.
        """
        pool_size = settings.worker_count_max + _SPARE_CONNECTIONS
        return cls(
            lambda: load_configuration(pool_size=pool_size),
            timeout_seconds=settings.kube_api_timeout_seconds,
            observe=observe,
            precedence=precedence,
        )

    @property
    def host(self) -> str:
        """URL of the API."""
        return str(self._api.client.configuration.host)

    def set_deadline(self, deadline: float) -> None:
        """Let requests that begin from now on end by ``deadline``, on the monotonic clock."""
        self._deadline = deadline

    def close(self) -> None:
        """Close the connections that are idle, and make no more; harmless twice."""
        self._api.origin.close()
        self._api.client.close()

    def request(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Send one request and return the object that answers it.

        ``operation`` names it in metrics and messages. Raises ``Transient`` (``Unreachable``,
        ``Conflict``, ``Gone``) or ``Permanent`` (``NotFound``).
        """
        request = _Request(operation, method, path, query, body, content_type, timeout)
        with self._turn_of(request):
            data = self._exchange(request).data
            self.precedence.go_on()
            try:
                answer: dict[str, Any] = load_answer(data)
            except ValueError as error:
                raise Transient(
                    FailureReason.API_ERROR, f"{operation}: the answer is no JSON: {data[:80]!r}"
                ) from error
            return answer

    def _turn_of(self, request: _Request) -> AbstractContextManager[None]:
        # Who has set a time of its own, as the lease and probes do, has none for turns.
        return self.precedence.turn() if request.timeout is None else nullcontext()

    def pages(self, operation: str, path: str, query: Query) -> Iterator[dict[str, Any]]:
        """Yield a list page by page, of as many objects as the ``limit`` in ``query`` says.

        Raises as ``request``: ``Gone`` where the next page is asked for too late.
        """
        more: str | None = ""
        while more is not None:
            where = {"continue": more} if more else {}
            page = self.request(operation, "GET", path, query={**query, **where})
            yield page
            more = (page.get("metadata") or {}).get("continue") or None

    def read(self, operation: str, path: str, *, query: Query | None = None) -> bytes:
        """Return the body of a ``GET`` as it is, for what is no JSON; raises as ``request``."""
        data: bytes = self._exchange(_Request(operation, "GET", path, query)).data
        return data

    def stream(
        self, operation: str, path: str, query: Query | None = None, *, read_timeout: float
    ) -> ByteStream:
        """Send a ``GET`` whose answer is read as it comes.

        The answer has to begin as soon as any other's; ``read_timeout`` is the longest silence
        after that, in seconds. Raises as ``request``.
        """
        timeout = min(read_timeout, self._timeout)
        request = _Request(operation, "GET", path, query, timeout=timeout, streamed=True)
        silence = self._time_left(replace(request, timeout=read_timeout))
        answer = self._exchange(request)
        return ByteStream(operation, answer, silence)

    def probe(self, timeout: float = PROBE_TIMEOUT_SECONDS) -> bool:
        """Ask whether the API is there: any answer below 500 says so, a refusal too."""
        try:
            self._exchange(_Request("probe", "GET", PROBE_PATH, timeout=timeout))
        except Permanent:
            return True
        except Unreachable:
            return False
        except Transient as error:
            return error.reason is not FailureReason.SERVER_ERROR
        return True

    def _exchange(self, request: _Request) -> Any:
        """Send with the credentials at hand and, where they are refused, with those of now."""
        api = self._api
        try:
            return self._observed(api, request)
        except Permanent as refusal:
            if refusal.reason is not FailureReason.UNAUTHORIZED:
                raise
            problem = self._reload(api)
            if problem is not None:
                message = f"{refusal}; reading the credentials again failed: {problem}"
                raise Permanent(refusal.reason, message) from refusal
        except Unreachable as error:
            if error.reason is FailureReason.CONNECTION:
                # The next request finds an API that moved, or changed its certificates.
                self._reload(api)
            raise
        return self._observed(self._api, request)

    def _observed(self, api: _Connection, request: _Request) -> Any:
        """Return an ``Answer``, or one that is open where it is read while it comes."""
        operation = request.operation
        started = time.monotonic()
        code = "error"
        answer: Answer | OpenAnswer
        try:
            answer = self._open(api, request) if request.streamed else self._send(api, request)
            code = str(answer.status)
        except CONNECTION_ERRORS as error:
            raise unreachable(operation, error) from error
        finally:
            self._observe(operation, code, time.monotonic() - started)
        if isinstance(answer, Answer) and not _is_success(answer.status):
            raise translate(operation, answer.status, answer.headers, answer.data, now=time.time())
        return answer

    def _send(self, api: _Connection, request: _Request) -> Answer:
        return api.origin.exchange(
            request.method,
            api.path + _target(request),
            api.headers(request),
            None if request.body is None else dump_utf8(request.body),
            seconds=self._time_left(request),
        )

    def _open(self, api: _Connection, request: _Request) -> Answer | OpenAnswer:
        """Return an answer that is open, or all of one that is no success."""
        seconds = self._time_left(request)
        until = time.monotonic() + seconds
        answer = api.origin.open(
            request.method, api.path + _target(request), api.headers(request), seconds=seconds
        )
        if _is_success(answer.status):
            return answer
        with closing(answer):
            return answer.whole(until - time.monotonic())

    def _time_left(self, request: _Request) -> float:
        seconds = self._timeout if request.timeout is None else request.timeout
        if self._deadline is not None:
            seconds = min(seconds, self._deadline - time.monotonic())
        if seconds < _LEAST_TIMEOUT_SECONDS:
            raise NotSent(
                FailureReason.TIMEOUT, f"{request.operation}: not sent: the service is stopping"
            )
        return seconds

    def _connect(self) -> _Connection:
        client = ApiClient(self._load())
        client.user_agent = f"lambda-builder/{__version__}"
        host = client.configuration.host
        try:
            pool = client.rest_client.pool_manager.connection_from_url(host)
            path = parse_url(host).path or ""
        except ValueError as error:  # urllib3's own are such too
            raise BootError(f"the Kubernetes API's server is no URL: {host!r}: {error}") from error
        return _Connection(client, Origin(pool, host, self.precedence.step_aside), path)

    def _reload(self, used: _Connection) -> LambdaBuilderError | None:
        """Read the configuration again unless another thread did since ``used`` was taken.

        Returns what is wrong with it, in which case the old one stays. Connections of the old one
        that are in use end with their requests, the idle ones with its garbage collection.
        """
        with self._reloading:
            if self._api is not used:
                return None
            try:
                self._api = self._connect()
            except BootError as error:
                return error
        return None


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _target(request: _Request) -> str:
    if not request.query:
        return request.path
    query = [(name, _text(value)) for name, value in request.query.items()]
    return f"{request.path}?{urlencode(query, quote_via=quote)}"


def _text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
