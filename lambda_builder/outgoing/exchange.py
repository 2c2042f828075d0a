"""Poster: one HTTP exchange with one bound on all of it, however slow the other side is.

The timeouts of ``requests`` begin anew with every byte: who sends one now and then would hold a
delivery for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from lambda_builder.http_exchange import Origin, Waits

_CONNECT_SECONDS = 3.05
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class Poster:
    """Posts CloudEvents over connections that are kept; thread-safe."""

    def __init__(self, connections: int, waits: Waits = lambda: None) -> None:
        """``connections`` are kept open to each host; ``waits`` as in ``Origin``."""
        self._waits = waits
        self._session = requests.Session()
        self._adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        self._routes: dict[str, _Route] = {}

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, seconds: float
    ) -> str | None:
        """Send one message; returns what went wrong, None where a 2xx answers it.

        The answer's head has to be there in ``seconds``, of which connecting gets at most three;
        its body is not waited for.
        """
        try:
            route = self._routes.get(url)
            if route is None:
                route = self._routes[url] = self._route(url)
            answer = route.origin.exchange(
                "POST",
                route.path,
                {**route.headers, **headers},
                body,
                seconds=seconds,
                connect_seconds=_CONNECT_SECONDS,
                only_head=True,
            )
        except _FAILURES as error:
            return _told(error)
        return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"

    def _route(self, url: str) -> _Route:
        """Find out, once for each URL, what ``requests`` takes from it and the environment.

        To ask it with every message looks for files each time, and costs more than the exchange.
        """
        request = self._session.prepare_request(requests.Request("POST", url))
        environment = self._session.merge_environment_settings(url, {}, None, None, None)
        pool: Any = self._adapter.get_connection_with_tls_context(
            request,
            environment["verify"],
            proxies=environment["proxies"],
            cert=environment["cert"],
        )
        headers = {str(k): str(v) for k, v in request.headers.items() if k != "Content-Length"}
        return _Route(Origin(pool, str(request.url), self._waits), request.path_url, headers)

    def close(self) -> None:
        """Close the connections that are idle; harmless twice."""
        self._routes.clear()
        self._session.close()


@dataclass(frozen=True, slots=True)
class _Route:
    origin: Origin
    path: str
    headers: dict[str, str]


def _told(error: BaseException) -> str:
    """Say what went wrong without the URL, whose path and query may be the receiver's secret."""
    name, cause = type(error).__name__, error
    while isinstance(cause, requests.RequestException):
        inner = cause.args[0]
        if not isinstance(inner, BaseException):
            return name  # what it says of a URL repeats it
        cause = inner
    return f"{name}: {cause}"[:300]
