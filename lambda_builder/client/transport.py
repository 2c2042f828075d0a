"""Requests to one service, tried again where that is asked for or harmless."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from itertools import count
from threading import Event
from typing import Any

import requests
from requests.auth import AuthBase

from lambda_builder.client.errors import (
    ClientError,
    Problem,
    Unreachable,
    failure_of,
    problem_of,
)
from lambda_builder.threads import Backoff

OnWait = Callable[[ClientError, float], object]
"""Told of what failed and of the seconds until it is tried again; from the thread that waits."""
_BUSY = frozenset({429, 503})
_HOPELESS = frozenset({"build_failed", "too_many_failures"})
"""Codes of such answers that waiting does not change."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0


class _Bearer(AuthBase):
    """An own class, for without one ``requests`` looks into ~/.netrc, and prefers what is there."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Transport:
    """Talks to the service at ``url``; thread-safe. Times are in seconds."""

    def __init__(
        self, url: str, token: str | None, *, timeout: float, patience: float, on_wait: OnWait
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout, self._patience, self._on_wait = timeout, patience, on_wait
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._closed = Event()
        self._session = requests.Session()
        token = token and token.strip()
        if token and not (token.isascii() and token.isprintable()):
            raise ClientError("the token must be printable ASCII, in one line")
        self._session.auth = _Bearer(token)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def close(self) -> None:
        """Close the connections; whoever waits to try again gives up."""
        self._closed.set()
        self._session.close()

    def pause(self, seconds: float) -> bool:
        """Wait; returns whether the transport was closed meanwhile."""
        return self._closed.wait(seconds)

    def request(
        self, method: str, path: str, *, repeatable: bool, silence: float | None = 0, **options: Any
    ) -> requests.Response:
        """Return an answer of 2xx; raises ``ClientError`` for what it is else.

        429 and 503 are tried again after their ``Retry-After``, for as long as patience lasts; a
        lost connection only where the request is ``repeatable``. ``silence`` is how long an answer
        may pause, None for ever, where it is not the timeout.
        """
        until = time.monotonic() + self._patience
        for failures in count():
            try:
                return self._once(method, path, silence, **options)
            except (Problem, Unreachable) as error:
                wait = self._wait_after(error, failures, repeatable)
                if wait is None or time.monotonic() + wait > until:
                    raise
                self._on_wait(error, wait)
                if self.pause(wait):
                    raise
        raise AssertionError  # pragma: no cover - the loop has no end

    def _once(
        self, method: str, path: str, silence: float | None, **options: Any
    ) -> requests.Response:
        timeout = (self._timeout, self._timeout if silence == 0 else silence)
        with self.reading():
            answer = self._session.request(
                method, f"{self.url}{path}", timeout=timeout, allow_redirects=False, **options
            )
        if not 200 <= answer.status_code < 300:
            with answer, self.reading():  # the body of a stream comes only now
                raise problem_of(self.url, answer)
        return answer

    def _wait_after(self, error: ClientError, failures: int, repeatable: bool) -> float | None:
        """Return the seconds until another try; None where there shall be none."""
        if isinstance(error, Unreachable):
            return self._backoff.pause(failures) if repeatable else None
        if not isinstance(error, Problem) or error.status not in _BUSY or error.code in _HOPELESS:
            return None
        # With jitter on top, since all that were refused got the same answer.
        return (error.retry_after or 0.0) + self._backoff.pause(failures)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what goes wrong while an answer is read into a ``ClientError``."""
        try:
            yield
        except requests.RequestException as error:
            raise failure_of(self.url, self._timeout, error) from error
