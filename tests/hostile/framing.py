"""Messages on whose end two servers in a row might disagree: the ways requests are smuggled."""

from __future__ import annotations

SMUGGLED = b"GET /async-jobs/stats HTTP/1.1\r\nHost: x\r\n\r\n"
_POST = b"POST /events HTTP/1.1\r\nHost: x\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_EMPTY = b"0\r\n\r\n"


def _length(content: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(content)


SMUGGLING: dict[str, bytes] = {
    "CL.TE": _POST + _length(_EMPTY + SMUGGLED) + _CHUNKED + b"\r\n" + _EMPTY + SMUGGLED,
    "TE.CL": _POST + _CHUNKED + b"Content-Length: 3\r\n\r\n" + _EMPTY + SMUGGLED,
    "two lengths": _POST + b"Content-Length: 0\r\n" + _length(SMUGGLED) + b"\r\n" + SMUGGLED,
    "the same length twice": _POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a list of lengths": _POST + b"Content-Length: 0, 0\r\n\r\n" + SMUGGLED,
    "a signed length": _POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "a negative length": _POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a hexadecimal length": _POST + b"Content-Length: 0x0\r\n\r\n" + SMUGGLED,
    "a length with a space in it": _POST + b"Content-Length: 0 0\r\n\r\n" + SMUGGLED,
    "a length with an underscore": _POST + b"Content-Length: 0_0\r\n\r\n" + SMUGGLED,
    "a length with a parameter": _POST + b"Content-Length: 0;a=b\r\n\r\n" + SMUGGLED,
    "an empty length": _POST + b"Content-Length:\r\n\r\n" + SMUGGLED,
    "a length of other digits": _POST + "Content-Length: ٠\r\n\r\n".encode() + SMUGGLED,
    "chunked, identity": _POST
    + b"Transfer-Encoding: chunked, identity\r\n\r\n"
    + _EMPTY
    + SMUGGLED,
    "chunked twice": _POST + _CHUNKED + _CHUNKED + b"\r\n" + _EMPTY + SMUGGLED,
    "chunked after a control": _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + SMUGGLED,
    "chunked with a space before the colon": (
        _POST + b"Transfer-Encoding : chunked\r\n\r\n" + _EMPTY + SMUGGLED
    ),
    "chunked in HTTP/1.0": (
        b"POST /events HTTP/1.0\r\nHost: x\r\n" + _CHUNKED + b"\r\n" + _EMPTY + SMUGGLED
    ),
    "no chunked at the end": _POST + b"Transfer-Encoding: gzip\r\n\r\n" + _EMPTY + SMUGGLED,
    "identity": _POST + b"Transfer-Encoding: identity\r\n\r\n" + _EMPTY + SMUGGLED,
    "a space before the first header": (
        b"POST /events HTTP/1.1\r\n Host: x\r\n" + _length(SMUGGLED) + b"\r\n" + SMUGGLED
    ),
    "a header without a colon": _POST + b"X\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a header without a name": _POST + b": x\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "obs-fold": _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + _EMPTY + SMUGGLED,
    "folded length": _POST + b"X: a\r\n Content-Length: 0\r\n\r\n" + SMUGGLED,
    "bare LF after a header": _POST + b"X: a\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "bare LF after the request line": b"POST /events HTTP/1.1\nHost: x\r\n\r\n" + SMUGGLED,
    "bare LF everywhere": b"GET /health HTTP/1.1\nHost: x\n\n" + SMUGGLED,
    "bare CR in a header": _POST + b"X: a\rContent-Length: 5\r\n\r\n" + SMUGGLED,
    "NUL in a header": _POST + b"X: a\x00\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "bare LF in a chunk's size": _POST + _CHUNKED + b"\r\n1;\nx\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk longer than it says": _POST + _CHUNKED + b"\r\n1\r\nxx\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk's size in hexadecimal notation": _POST + _CHUNKED + b"\r\n0x0\r\n\r\n" + SMUGGLED,
    "a signed chunk": _POST + _CHUNKED + b"\r\n-0\r\n\r\n" + SMUGGLED,
    "no chunk size": _POST + _CHUNKED + b"\r\n\r\n" + _EMPTY + SMUGGLED,
    "a space before a chunk's size": _POST + _CHUNKED + b"\r\n 0\r\n\r\n" + SMUGGLED,
    "an underscore in a chunk's size": _POST + _CHUNKED + b"\r\n0_0\r\n\r\n" + SMUGGLED,
    "bare LF in a chunk's extension": _POST + _CHUNKED + b"\r\n0;a\nb\r\n\r\n" + SMUGGLED,
    "bare CR in a chunk's extension": _POST + _CHUNKED + b"\r\n0;a\rb\r\n\r\n" + SMUGGLED,
    "bare LF behind a chunk": _POST + _CHUNKED + b"\r\n1\r\nx\n0\r\n\r\n" + SMUGGLED,
    "nothing behind a chunk": _POST + _CHUNKED + b"\r\n1\r\nx0\r\n\r\n" + SMUGGLED,
    "bare LF in the trailer": _POST + _CHUNKED + b"\r\n0\r\nX: a\nY: b\r\n\r\n" + SMUGGLED,
    "obs-fold in the trailer": _POST + _CHUNKED + b"\r\n0\r\nX: a\r\n b\r\n\r\n" + SMUGGLED,
    "a coding in the trailer": _POST + _CHUNKED + b"\r\n0\r\n" + _CHUNKED + b"\r\n" + SMUGGLED,
    "a length in the trailer": (
        _POST + _CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED
    ),
    "two hosts": b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + SMUGGLED,
    "no host": b"GET /health HTTP/1.1\r\n\r\n" + SMUGGLED,
    "a host that is none": b"GET /health HTTP/1.1\r\nHost: a b@c/d\r\n\r\n" + SMUGGLED,
    "a target with another scheme": b"GET ftp://x/health HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "a target with a user": b"GET http://u@x/health HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
}
"""By name; each with a request behind it that must never be answered.

RFC 9112: 2.2 and 5.2 (bare CR, bare LF, folds, spaces), 3.2 (hosts, targets), 5.1 (names), 6.1 and
6.3 (lengths and codings), 7.1 (chunks); RFC 9110, 6.5.1 (trailers), 8.6 (the form of a length).
"""

OTHER_CODINGS: dict[str, bytes] = {
    name: _POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + _EMPTY + SMUGGLED
    for name, coding in {
        "none": b"",
        "gzip in chunks": b"gzip, chunked",
        "gzip in chunks, in two lines": b"gzip\r\nTransfer-Encoding: chunked",
        "xchunked": b"xchunked",
        "chunked with a parameter": b"chunked;q=1",
        "quoted": b'"chunked"',
        "unknown, then chunked": b"cow, chunked",
    }.items()
}
"""Codings that are not undone here, so that nobody knows where the body ends (RFC 9112, 6.1)."""
