"""The service's HTTP API as the commands ask it: whatever goes wrong ends in one sentence."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import requests

TIMEOUT_SECONDS = 30.0


class Api:
    """The service at ``url``; every call ends the command with exit code 1 when it fails."""

    def __init__(
        self, url: str, token: str | None = None, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._timeout = timeout

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON object that the service answers with."""
        with self._failing(), self._request(method, path, self._timeout, **options) as answer:
            try:
                found = answer.json()
            except ValueError as error:
                raise self._something_else(answer) from error
            if not isinstance(found, dict):
                raise self._something_else(answer)
            return found

    def stream(self, path: str, *, forever: bool, **options: Any) -> Iterator[bytes]:
        """GET what comes bit by bit; ``forever`` when the service may be silent for any time."""
        timeout = (self._timeout, None if forever else self._timeout)
        with (
            self._failing(),
            self._request("GET", path, timeout, stream=True, **options) as answer,
        ):
            yield from answer.iter_content(None)

    def _request(self, method: str, path: str, timeout: Any, **options: Any) -> requests.Response:
        answer = requests.request(
            method, f"{self._url}{path}", timeout=timeout, headers=self._headers, **options
        )
        if not answer.ok:
            raise self._refusal(answer)
        return answer

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise click.ClickException(self._failure(error)) from error

    def _failure(self, error: requests.RequestException) -> str:
        if isinstance(error, ValueError):
            return (
                f"{self._url!r} is not the address of a service: give one like "
                "http://localhost:8080 with `jobs --url`."
            )
        if isinstance(error, requests.Timeout):
            return f"{self._url} has not answered within {self._timeout:g} seconds."
        if reason := _reason(error):
            return (
                f"{self._url} does not answer ({reason}): start the service there, or name "
                "another with `jobs --url`."
            )
        return f"{self._url} broke off before its answer was complete."

    def _refusal(self, answer: requests.Response) -> click.ClickException:
        try:
            problem = answer.json()
            return click.ClickException(f"{problem['code']}: {problem['detail']}")
        except (ValueError, KeyError, TypeError):
            return self._something_else(answer)

    def _something_else(self, answer: requests.Response) -> click.ClickException:
        return click.ClickException(
            f"{self._url} answered {answer.status_code}, but not as lambda-builder does: name the "
            "service with `jobs --url`."
        )


def _reason(error: BaseException) -> str:
    """Return the system's own words for why nobody was reached; empty if somebody was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason.replace('_', ' ').lower()}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return ""
