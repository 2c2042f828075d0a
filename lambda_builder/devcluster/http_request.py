"""Reading HTTP/1.1 requests out of what a connection has received."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from urllib.parse import parse_qsl, unquote

MAX_BODY = 3 * 1024 * 1024  # what the API server takes
MAX_HEAD = 64 * 1024


@dataclass(frozen=True)
class Request:
    """One request as it came in. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @cached_property
    def path(self) -> str:
        """The path, decoded."""
        path = self.target.partition("?")[0]
        return unquote(path) if "%" in path else path

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's parameters; of one that is repeated, the last."""
        text = self.target.partition("?")[2]
        return dict(parse_qsl(text, keep_blank_values=True)) if text else {}

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def flag(self, name: str) -> bool:
        """Whether a parameter of the query is set."""
        return self.query.get(name, "").lower() in ("true", "1")


class BadHttp(Exception):
    """What came in is no HTTP request this server can read."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Partial(Enum):
    """Why there is no request yet."""

    MORE_TO_COME = 1
    EXPECTS_100 = 2


def read_request(buffer: bytearray) -> Request | Partial:
    """Take one whole request off the buffer's front, or say what it waits for."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > MAX_HEAD:
            raise BadHttp(431)
        return Partial.MORE_TO_COME
    method, target, headers = _parse_head(bytes(buffer[:end]))
    whole = _read_body(buffer, end + 4, headers)
    if whole is None:
        expects = headers.get("expect", "").lower() == "100-continue"
        return Partial.EXPECTS_100 if expects else Partial.MORE_TO_COME
    body, stop = whole
    del buffer[:stop]
    return Request(method, target, headers, body)


def _read_body(buffer: bytearray, start: int, headers: dict[str, str]) -> tuple[bytes, int] | None:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        if len(buffer) > 2 * MAX_BODY:
            raise BadHttp(413)
        return _read_chunks(buffer, start)
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise BadHttp(400)
    if int(length) > MAX_BODY:
        raise BadHttp(413)
    stop = start + int(length)
    return None if len(buffer) < stop else (bytes(buffer[start:stop]), stop)


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadHttp(400)
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadHttp(400)
        headers[name.lower()] = value.strip()
    return parts[0], parts[1], headers


def _read_chunks(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    """A chunked body and where it ends; None while some of it is missing."""
    body = bytearray()
    while True:
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            return None
        try:
            size = int(buffer[start:line_end].split(b";")[0], 16)
        except ValueError:
            raise BadHttp(400) from None
        start = line_end + 2
        if size == 0:
            end = buffer.find(b"\r\n", start)
            return None if end < 0 else (bytes(body), end + 2)
        if len(buffer) < start + size + 2:
            return None
        body += buffer[start : start + size]
        start += size + 2
