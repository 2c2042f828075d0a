"""Bodies in chunks as gunicorn reads them, but bounded in framing, and a few chunks at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.http.body import ChunkedReader

FRAMING_BYTES = 8192
"""What the lines between the content and behind it may take, beyond as much as the content. A chunk
of one byte costs as much time as one of thousands."""
CHUNKS_AT_A_TIME = 32
"""Some tenth of a millisecond."""


class Padded(http_errors.ParseException):  # type: ignore[misc]  # gunicorn has no types
    """A chunked body's framing takes more room than its content may."""

    def __str__(self) -> str:
        return "the chunks of the body are too small"


class BoundedChunks(ChunkedReader):  # type: ignore[misc]
    """Raises ``Padded`` at the first line that is one too many, however the bytes come.

    ``received`` returns how many bytes of the request have come; ``pause`` lets others go first,
    and is called at the start and after every few chunks.
    """

    def __init__(
        self, request: Any, unreader: Any, received: Callable[[], int], pause: Callable[[], None]
    ) -> None:
        super().__init__(request, unreader)
        self._received = received
        self._pause = pause
        self._begun = received() - _held(unreader)
        self._content = 0
        self._chunks = 0

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> tuple[int, Any]:
        """Read one chunk's line, and behind the last one the trailer."""
        if self._chunks % CHUNKS_AT_A_TIME == 0:
            self._pause()
        self._chunks += 1
        size, rest = super().parse_chunk_size(unreader, data)
        self._check(len(rest) if size else _held(unreader))
        self._content += size
        return size, rest

    def read_into(self, unreader: Any, buf: bytearray) -> None:
        """Read on in a line that is not whole yet."""
        self._check(_held(unreader))
        super().read_into(unreader, buf)

    def _check(self, ahead: int) -> None:
        """Compare what came, but for what lies ``ahead`` of the line, with the content."""
        framing = self._received() - ahead - self._begun - self._content
        if framing > FRAMING_BYTES + self._content:
            raise Padded


def _held(unreader: Any) -> int:
    return len(unreader.buf.getvalue())
