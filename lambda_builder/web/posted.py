"""One POST with events, as WSGI hands it over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from werkzeug.wsgi import get_content_length

from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.events.binding import BATCH_JSON, STRUCTURED_JSON, ContentMode, media_type
from lambda_builder.web import correlation

_CONTENT = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}


class Posted:
    """The request: its headers, its body once that was read, and its correlation ID.

    Not thread-safe: one thread answers a request.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.headers: dict[str, str] = {
            key[5:].replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        """By their names in lower case."""
        for key, name in _CONTENT.items():
            self.headers.pop(name, None)  # a header of that name that the server did not believe
            if value := environ.get(key):
                self.headers[name] = value
        self.body = b""
        self.tenants: frozenset[str] = frozenset()
        """Whose events they are, once that was read."""
        self._is_read = False
        self._correlation_id: str | None = None

    @property
    def correlation_id(self) -> str:
        """That of the event once it is known, else the header's, else a fresh one."""
        if self._correlation_id is None:
            known = correlation.of_header(self.headers.get("x-correlation-id"))
            self._correlation_id = known or correlation.fresh()
        return self._correlation_id

    @correlation_id.setter
    def correlation_id(self, known: str) -> None:
        self._correlation_id = known

    @property
    def announced(self) -> int | None:
        """The length that the body is said to have."""
        return get_content_length(self.environ)

    @property
    def apparent_mode(self) -> ContentMode:
        """The mode that the content type announces, for a delivery that was refused."""
        media = media_type(self.headers.get("content-type", ""))
        if media == BATCH_JSON:
            return "batch"
        return "structured" if media == STRUCTURED_JSON else "binary"

    def read_body(self, limit: int) -> None:
        """Read the body, once; raises ``Refused`` where it is over ``limit`` bytes or broken.

        Never reads more than one byte beyond the limit, whatever length was announced.
        """
        if self._is_read:
            return
        announced = self.announced
        if announced is not None and announced > limit:
            raise _too_large(limit)
        try:
            self.body = b"".join(self._parts(limit + 1 if announced is None else announced))
        except Exception as error:
            # The server's own parse errors surface here: bad chunk sizes, bad trailers.
            raise _cut_off() from error
        if len(self.body) > limit:
            raise _too_large(limit)
        if announced is not None and len(self.body) < announced:
            raise _cut_off()
        self._is_read = True

    def _parts(self, most: int) -> Iterator[bytes]:
        if "content-length" not in self.headers and not self.environ.get("wsgi.input_terminated"):
            return  # nobody says where the body ends
        stream = self.environ["wsgi.input"]
        while most > 0 and (part := stream.read(most)):
            most -= len(part)
            yield part


def _too_large(limit: int) -> Refused:
    return Refused(RefusalCode.BODY_TOO_LARGE, f"the body is over {limit} bytes")


def _cut_off() -> Refused:
    return Refused(RefusalCode.BAD_REQUEST, "the body could not be read to its end")
