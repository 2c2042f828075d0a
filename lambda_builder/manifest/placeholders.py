"""``${name}`` in text: the fields of a build, put into templates. Pure and thread-safe.

A value is put in once and never read again, so a ``${…}`` inside it stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from lambda_builder.builds import BuildRequest, rfc3339
from lambda_builder.kube.labels import correlation_hash_label, event_hash_label, safe

_HASH_DIGITS = 10

FIELDS: Mapping[str, Callable[[BuildRequest], str]] = {
    "third_party_id": lambda build: build.third_party_id,
    "third_party_id_safe": lambda build: safe(build.third_party_id),
    "parser_id": lambda build: build.parser_id,
    "parser_id_safe": lambda build: safe(build.parser_id),
    "correlation_id": lambda build: build.correlation_id,
    "correlation_id_safe": lambda build: safe(build.correlation_id),
    "correlation_hash": lambda build: correlation_hash_label(build.correlation_id),
    "event_id": lambda build: build.event_id,
    "event_id_safe": lambda build: safe(build.event_id),
    "event_source": lambda build: build.event_source,
    "event_type": lambda build: build.event_type,
    "event_hash": lambda build: build.event_hash,
    "event_hash_label": lambda build: event_hash_label(build.event_hash),
    "hash": lambda build: build.event_hash[:_HASH_DIGITS],
    "job_name": lambda build: build.job_name,
    "priority": lambda build: build.priority.value,
    "runtime": lambda build: build.runtime or "",
    "content_hash": lambda build: build.content_hash or "",
    "traceparent": lambda build: build.traceparent or "",
    "accepted_at": lambda build: rfc3339(build.accepted_at) or "",
}
"""What a placeholder of that name stands for; an optional field that is absent is empty."""

# What is no name is caught too, so that a typing error is told instead of left standing.
_TOKEN = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{")


class PlaceholderError(ValueError):
    """A text has a placeholder that stands for nothing; the message names it."""


class Text:
    """A text with placeholders, read once. Immutable."""

    __slots__ = ("_parts", "names")

    def __init__(self, source: str, known: frozenset[str]) -> None:
        """Read ``source``; raises ``PlaceholderError`` for a placeholder not in ``known``."""
        self._parts = tuple(_parse(source, known))
        """Literal text at even places, names at odd ones."""
        self.names = frozenset(self._parts[1::2])
        """The placeholders in it."""

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with ``values`` in place of the names."""
        parts = self._parts
        if len(parts) == 1:
            return parts[0]
        return "".join(values[part] if index % 2 else part for index, part in enumerate(parts))


def _parse(source: str, known: frozenset[str]) -> Iterator[str]:
    literal, position = "", 0
    for token in _TOKEN.finditer(source):
        literal += source[position : token.start()]
        position = token.end()
        if token[0] == "$$":
            literal += "$"
            continue
        yield literal
        yield _known_name(token, known)
        literal = ""
    yield literal + source[position:]


def _known_name(token: re.Match[str], known: frozenset[str]) -> str:
    name = token[1]
    if name is None:
        raise PlaceholderError("a placeholder has no end: ${ (write $${ for a plain ${)")
    if name not in known:
        names = ", ".join(sorted(known))
        raise PlaceholderError(
            f"unknown placeholder ${{{name}}} (known: {names}; write $${{ for a plain ${{)"
        )
    return name


def plain(text: str) -> str:
    """Return ``text`` as a source that fills to it, whatever is in it."""
    return text.replace("$", "$$")
