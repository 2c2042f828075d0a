"""A stream on its way to one reader; its thread's slot comes back whatever happens."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import structlog

from lambda_builder.errors import LambdaBuilderError

_ASK_SECONDS = 5.0


class LogStream(Iterator[bytes]):
    """A WSGI response body over ``chunks``, of a build's log or of changes.

    It ends with them, at a shutdown, when the reader is gone, and seconds after ``is_allowed``
    says no: whoever follows a log for hours may lose its token meanwhile. Empty chunks mean that
    nothing came for a while, and give the occasion to notice. ``close`` releases ``chunks`` and
    ``slot``; the WSGI server calls it in any case, in the thread that iterates.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        slot: ExitStack,
        *,
        is_shutdown: Callable[[], bool],
        client: socket.socket | None,
        is_allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self._chunks = chunks
        self._slot = slot
        self._is_shutdown = is_shutdown
        self._client = client
        self._is_allowed = is_allowed
        self._asked_at = time.monotonic()
        self._begun = self._is_cut = False

    def __next__(self) -> bytes:
        if not self._begun:
            # gunicorn sends the headers with the first chunk, which a silent log may never have.
            self._begun = True
            return b""
        if self._is_cut or self._is_shutdown():
            raise StopIteration
        if self._is_refused():
            return self._cut("whoever asked may not read it any more")
        try:
            chunk = next(self._chunks)
        except LambdaBuilderError as error:
            return self._cut(str(error)[:200])
        if not chunk and self._reader_is_gone():
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Release what the stream holds; harmless twice."""
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        finally:
            self._slot.close()

    def _is_refused(self) -> bool:
        now = time.monotonic()
        if now - self._asked_at < _ASK_SECONDS:
            return False
        self._asked_at = now
        return not self._is_allowed()

    def _cut(self, reason: str) -> bytes:
        structlog.get_logger().warning("log_stream_cut", reason=reason)
        self._is_cut = True
        # The status has long been sent, so the text itself has to tell.
        return b"\n[the log could not be read further]\n"

    def _reader_is_gone(self) -> bool:
        """Whether the connection was closed by the other side; unknown counts as no."""
        if self._client is None:
            return False
        try:
            readable, _, _ = select.select([self._client], [], [], 0)
            return bool(readable) and not self._client.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True
