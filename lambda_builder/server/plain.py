"""Requests that come in one piece and ask for nothing out of the ordinary, read by llhttp.

gunicorn's parser is written in Python and takes 30 us for a head of ten fields, llhttp one. So most
requests are read here, and whatever is not plain, or no request at all, is left to gunicorn's,
which alone says what is wrong. What is read here means the same to both: one request that ends
where its bytes do, so that they cannot disagree on where the next one begins.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

from gunicorn.http.message import Request
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

_LINE_BYTES = 8_190
"""gunicorn's bound of a line, which its settings can only lower."""
_LENGTH_DIGITS = 19
"""More are no length: gunicorn and llhttp differ on zeros without end."""
_TARGET = re.compile(rb"/(?!/)[!-\"$-~]*")
"""A path and a query (RFC 9112, 3.2.1), without what might be read as a host or a fragment."""
_LEFT_TO_GUNICORN = frozenset({"TRANSFER-ENCODING", "EXPECT", "UPGRADE"})
_ONCE = frozenset({"HOST", "CONTENT-TYPE"})


class PlainRequest(Request):  # type: ignore[misc]  # gunicorn has no types
    """A whole request as gunicorn's parser would have made it, without its parsing."""

    def __init__(self, cfg: Any, peer: Any, method: str, target: str, body: bytes) -> None:
        self.cfg = cfg
        self.peer_addr = self.remote_addr = peer
        self.proxy_protocol_info = None
        self.method = method
        self.uri = target
        self.path, _, self.query = target.partition("?")
        self.fragment = ""
        self.version = (1, 1)
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        self.scheme = "https" if cfg.is_ssl else "http"
        self.must_close = False
        self._expected_100_continue = False
        self.body = BytesIO(body)

    def take_fields(self, fields: list[tuple[bytes, bytes]], trusted: tuple[Any, Any]) -> bool:
        """Take the head's fields by gunicorn's rules; False where it has to read them itself.

        ``trusted`` is what its peer may set. Raises gunicorn's ``ParseException`` for what it
        refuses.
        """
        secure, forwarder = trusted
        scheme_seen, seen = [False], set[str]()
        for raw, content in fields:
            name = raw.decode("latin-1").upper()
            value = content.decode("latin-1").strip(" \t")
            if name in _LEFT_TO_GUNICORN:
                return False
            if name == "CONTENT-LENGTH" and len(value) > _LENGTH_DIGITS:
                return False
            if name in _ONCE or name in secure or "_" in name:
                kept = self._apply_header_policy(name, value, scheme_seen, seen, secure, forwarder)
                if kept is None:
                    continue
            self.headers.append((name, value))
        return True


class PlainReader:
    """Reads the plain requests of one connection; used by the worker's loop only."""

    def __init__(self, cfg: Any, peer: Any, max_body_bytes: int) -> None:
        self._cfg = cfg
        self._peer = peer
        self._max_body_bytes = max_body_bytes
        bounds = cfg.limit_request_line, cfg.limit_request_field_size
        self._head_max = min([_LINE_BYTES, *(bound for bound in bounds if bound > 0)])
        self._fields_max = cfg.limit_request_fields
        self._takes_none = (
            cfg.proxy_protocol != "off" or cfg.protocol != "http" or cfg.http_parser == "fast"
        )
        self._trusted: tuple[Any, Any] | None = None
        """What the connection's peer may set, as gunicorn's settings have it; looked up once."""
        self._parser: Any = None

    # What llhttp calls, in the order in which it reads.

    def on_message_begin(self) -> None:
        """Count the messages: more than one is not plain."""
        self._begun += 1

    def on_url(self, target: bytes) -> None:
        """Take the request's target."""
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        self._fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Take the body, which comes in one piece since it was given in one."""
        self._body = body

    def on_message_complete(self) -> None:
        """Note that the message is whole."""
        self._is_whole = True

    def close(self) -> None:
        """Forget all: the parser holds its reader, so that only a collection would free both."""
        self._parser = None
        self._target = b""

    def read(self, data: bytes) -> PlainRequest | None:
        """Return the request that ``data`` is; None where it is none that is plain.

        Where it is not, nothing is remembered of it.
        """
        end = data.find(b"\r\n\r\n")
        if self._takes_none or not 0 < end <= self._head_max or not _has_plain_lines(data[:end]):
            return None
        self._fields: list[tuple[bytes, bytes]] = []
        self._target = self._body = b""
        self._is_whole = False
        self._begun = 0
        try:
            request = self._request(data, end)
        finally:
            self._fields, self._body = [], b""
        if request is None:
            self._parser = None  # it may be within a message
        return request

    def _request(self, data: bytes, end: int) -> PlainRequest | None:
        if self._parser is None:
            self._parser = HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            return None
        method: bytes = self._parser.get_method()
        is_plain = (
            self._is_whole
            and self._begun == 1
            and len(self._fields) <= self._fields_max
            and len(self._body) == len(data) - end - 4 <= self._max_body_bytes
            and _TARGET.fullmatch(self._target)
            and data.startswith(b"%b %b HTTP/1.1\r\n" % (method, self._target))
        )
        if not is_plain:
            return None
        request = PlainRequest(
            self._cfg, self._peer, method.decode("ascii"), self._target.decode("ascii"), self._body
        )
        if self._trusted is None:
            self._trusted = request._peer_trusted_for_forwarded()
        return request if request.take_fields(self._fields, self._trusted) else None


def _has_plain_lines(head: bytes) -> bool:
    """Whether no line is folded or ended by LF alone, which llhttp reads and gunicorn refuses."""
    return (
        head.count(b"\n") == head.count(b"\r\n") and b"\r\n " not in head and b"\r\n\t" not in head
    )
