"""One request answered, in a thread: the application is called, and its answer written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from gunicorn.http import wsgi

_NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Answer:
    """The answer to one whole request; each method is called once, and by one thread at a time.

    A body of unknown length is a stream: it may last, so ``stream`` sends it from a thread that
    nobody else waits for. Any other is complete when ``begin`` returns.
    """

    def __init__(self, connection: Any, request: Any, *, cfg: Any, log: Any) -> None:
        self._request = request
        self._log = log
        self._begun = datetime.now()
        self._response, self._environ = wsgi.create(
            request, connection.sock, connection.peer, connection.server, cfg
        )
        self._environ["wsgi.multithread"] = True
        self._body: Iterable[bytes] = ()

    @property
    def environ(self) -> dict[str, Any]:
        """The request, as WSGI has it (PEP 3333)."""
        found: dict[str, Any] = self._environ
        return found

    @property
    def is_stream(self) -> bool:
        """Whether ``stream`` is still to be called."""
        response = self._response
        return (
            response.status is not None
            and response.response_length is None
            and self._request.method != "HEAD"
            and response.status_code not in _NO_BODY
        )

    @property
    def keeps_connection(self) -> bool:
        """Whether the client may ask again, once all is written."""
        return not self._response.should_close()

    def begin(self, application: Callable[..., Iterable[bytes]], *, last: bool) -> None:
        """Call the application; ``last`` tells the client that the connection ends."""
        if last:
            self._response.force_close()
        self._body = application(self._environ, self._response.start_response)
        if not self.is_stream:
            self.stream()

    def stream(self) -> None:
        """Write the body to its end."""
        try:
            for item in self._body:
                self._response.write(item)
            self._response.close()
        finally:
            self._log.access(
                self._response, self._request, self._environ, datetime.now() - self._begun
            )
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
