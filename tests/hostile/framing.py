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
    "a length of other digits": _POST + "Content-Length: ٠\r\n\r\n".encode() + SMUGGLED,
    "chunked, identity": _POST
    + b"Transfer-Encoding: chunked, identity\r\n\r\n"
    + _EMPTY
    + SMUGGLED,
    "chunked twice": _POST + _CHUNKED + _CHUNKED + b"\r\n" + _EMPTY + SMUGGLED,
    "xchunked": _POST + b"Transfer-Encoding: xchunked\r\n\r\n" + _EMPTY + SMUGGLED,
    "chunked after a control": _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + SMUGGLED,
    "chunked with a space before the colon": (
        _POST + b"Transfer-Encoding : chunked\r\n\r\n" + _EMPTY + SMUGGLED
    ),
    "chunked in HTTP/1.0": (
        b"POST /events HTTP/1.0\r\nHost: x\r\n" + _CHUNKED + b"\r\n" + _EMPTY + SMUGGLED
    ),
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
    "a length in the trailer": (
        _POST + _CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED
    ),
    "two hosts": b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + SMUGGLED,
    "no host": b"GET /health HTTP/1.1\r\n\r\n" + SMUGGLED,
    "a host that is none": b"GET /health HTTP/1.1\r\nHost: a b@c/d\r\n\r\n" + SMUGGLED,
    "a target with another scheme": b"GET ftp://x/health HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "a target with a user": b"GET http://u@x/health HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
}
"""By name; each with a request behind it that must never be answered."""
