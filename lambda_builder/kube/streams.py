"""An answer that is read while it comes: a watch, or a followed log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lambda_builder.http_exchange import OpenAnswer
from lambda_builder.kube.errors import CONNECTION_ERRORS, unreachable


class ByteStream:
    """The body of an answer, by lines or as it comes.

    One thread reads; ``close`` may be called from any other and ends a read that blocks. Reading
    raises ``Unreachable`` when the connection breaks or stays silent for longer than the read
    timeout, and just ends after ``close``.
    """

    def __init__(self, operation: str, answer: OpenAnswer, silence_seconds: float) -> None:
        self._operation = operation
        self._answer = answer
        self._silence = silence_seconds
        self._reading = threading.Lock()
        self._closed = False

    def lines(self) -> Iterator[list[bytes]]:
        """Yield whole lines without their ends, all that have come so far together.

        And what is left of one where the answer ends.
        """
        rest = b""
        for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield lines
        if rest and not self._closed:
            yield [rest]

    def chunks(self) -> Iterator[bytes]:
        """Yield what has come so far, as soon as there is something."""
        while chunk := self._read():
            yield chunk

    def _read(self) -> bytes:
        with self._reading:
            if self._closed:
                return b""
            try:
                data: bytes = self._answer.read(self._silence)
            except CONNECTION_ERRORS as error:
                if self._closed:
                    return b""
                raise unreachable(self._operation, error) from error
            return data

    def close(self) -> None:
        """End the stream and give its connection up; harmless twice."""
        self._closed = True
        # Closing alone would wait for the reader, which waits for the other side.
        try:
            self._answer.end()
        finally:
            with self._reading:
                self._answer.close()


class OpenStream:
    """Which stream one thread reads, so that another can end that; closed once for good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream: ByteStream | None = None
        self._closed = False

    def close(self) -> None:
        """End the stream there is, and every later one; harmless twice, from any thread."""
        with self._lock:
            self._closed = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def adopt(self, stream: ByteStream | None) -> None:
        """Let ``close`` know what to close; where it came before, do that now."""
        with self._lock:
            self._stream = stream
        if self._closed and stream is not None:
            stream.close()

    @contextmanager
    def reading(self, stream: ByteStream) -> Iterator[None]:
        """Adopt ``stream`` for a block, which ends with it closed."""
        self.adopt(stream)
        try:
            yield
        finally:
            self.adopt(None)
            stream.close()
