"""Server-sent events, read line by line: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    kind: str
    """``message`` where the sender names none."""
    data: str
    last_id: str
    """To go on from, as ``Last-Event-ID``."""


def messages(chunks: Iterable[bytes]) -> Iterator[Message]:
    """Read the messages of a stream; one that is cut off is none."""
    kind, data, last_id = "message", list[str](), ""
    for line in _lines(chunks):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Message(kind, "\n".join(data), last_id)
            kind, data = "message", []
        elif name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id":
            last_id = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
