"""Poster: one HTTP exchange with one bound on all of it, however slow the other side is.

The timeouts of ``requests`` begin anew with every byte: who sends one now and then would hold a
delivery for ever.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from lambda_builder.http_requests import LeanRequests, Waits, pools_of

_CONNECT_SECONDS = 3.05
_SEND_SECONDS = 10.0
_PIECE_BYTES = 65_536
_NO_BODY = 204
_NO_RETRIES = urllib3.Retry(0, read=False)


class Poster:
    """Posts CloudEvents over connections that are kept; thread-safe."""

    def __init__(self, connections: int, waits: Waits = lambda: None) -> None:
        """``connections`` are kept open to each host; ``waits`` as in ``LeanRequests``."""
        self._session = requests.Session()
        pools = pools_of(_Connection, _TLSConnection, waits=waits)
        self._adapter = _Adapter(pools, pool_connections=4, pool_maxsize=connections)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        self._routes: dict[str, _Route] = {}

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, seconds: float
    ) -> str | None:
        """Send one message; returns what went wrong, None where a 2xx answers it.

        The answer's head has to be there in ``seconds``, of which connecting gets at most three;
        its body is not read, so that nobody waits for it.
        """
        try:
            route = self._routes.get(url)
            if route is None:
                route = self._routes[url] = self._route(url)
            answer = route.pool.urlopen(
                "POST",
                route.target,
                body=body,
                headers={**route.headers, **headers, "Content-Length": str(len(body))},
                timeout=urllib3.Timeout(total=seconds, connect=min(_CONNECT_SECONDS, seconds)),
                retries=_NO_RETRIES,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
            )
            if answer.status == _NO_BODY or answer.headers.get("Content-Length") == "0":
                answer.drain_conn()  # nothing, and the connection can be used again
                answer.release_conn()
            answer.close()
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            return _told(error)
        return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"

    def _route(self, url: str) -> _Route:
        """Find out, once for each URL, what ``requests`` takes from it and the environment.

        To ask it with every message looks for files each time, and costs more than the exchange.
        """
        request = self._session.prepare_request(requests.Request("POST", url))
        environment = self._session.merge_environment_settings(url, {}, None, None, None)
        proxies = environment["proxies"]
        pool = self._adapter.get_connection_with_tls_context(
            request, environment["verify"], proxies=proxies, cert=environment["cert"]
        )
        target = self._adapter.request_url(request, proxies)
        return _Route(pool, target, dict(request.headers))

    def close(self) -> None:
        """Close the connections that are idle; harmless twice."""
        self._routes.clear()
        self._session.close()


@dataclass(frozen=True, slots=True)
class _Route:
    pool: Any
    """The connections to the host, or its proxy."""
    target: str
    headers: dict[str, str]


def _told(error: BaseException) -> str:
    """Say what went wrong without the URL, whose path and query may be the receiver's secret."""
    name, cause = type(error).__name__, error
    while isinstance(cause, requests.RequestException | urllib3.exceptions.MaxRetryError):
        inner = cause.args[0] if isinstance(cause, requests.RequestException) else cause.reason
        if not isinstance(inner, BaseException):
            return name  # what it says of a URL repeats it
        cause = inner
    return f"{name}: {cause}"[:300]


class _UntilDeadline(io.RawIOBase):
    """Reads a socket until a moment on the monotonic clock, not for so long after each byte."""

    def __init__(self, raw: io.RawIOBase, sock: Any, deadline: float) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        self._sock.settimeout(left)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp: Any = io.BufferedReader(_UntilDeadline(self.fp.detach(), sock, deadline))


class _InTime(HTTPConnection):
    """Ends each exchange in time; ``timeout`` is what is left of it."""

    _send_by = 0.0

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._send_by = time.monotonic() + _SEND_SECONDS
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        # Over TLS the socket's timeout is for each record, not for all of them.
        for start in range(0, len(data), _PIECE_BYTES):
            if time.monotonic() > self._send_by:
                raise TimeoutError("the message was not read in time")
            super().send(data[start : start + _PIECE_BYTES])

    def _answer(self, sock: Any, *args: Any, **kwargs: Any) -> HTTPResponse:
        return _Answer(sock, *args, deadline=time.monotonic() + float(self.timeout or 0), **kwargs)

    response_class: Any = _answer


class _Connection(LeanRequests, _InTime):
    pass


class _TLSConnection(LeanRequests, _InTime, HTTPSConnection):
    pass


class _Adapter(HTTPAdapter):
    def __init__(self, pools: Mapping[str, Any], **options: Any) -> None:
        self._pools = pools
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager
