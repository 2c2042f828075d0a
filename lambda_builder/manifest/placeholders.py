"""``${name}`` in text: the fields of a build, put into templates. Pure and thread-safe.

A value is put in once and never read again, so a ``${…}`` inside it stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from operator import attrgetter, itemgetter

from lambda_builder.builds import BuildRequest, rfc3339
from lambda_builder.kube.labels import correlation_hash_label, event_hash_label, safe
from lambda_builder.manifest.names import object_name, repository

_HASH_DIGITS = 10

_NOT_FROM_THE_EVENT_ALONE = ("context_url", "image")
"""Settings stand in for these, so the template knows them."""
_NO_TEXT = ("build_args", "event")


def _exact(field: str) -> Callable[[BuildRequest], str]:
    value = attrgetter(field)
    return lambda build: str(value(build) or "")


def _form(make: Callable[[str], str], field: str) -> Callable[[BuildRequest], str]:
    value = attrgetter(field)
    return lambda build: make(value(build))


_FORMS = {"safe": safe, "repository": repository, "name": object_name}
"""What may be asked for of an id, beside the id as it is."""
_TEXTS = [
    field.name
    for field in fields(BuildRequest)
    if field.name not in (*_NOT_FROM_THE_EVENT_ALONE, *_NO_TEXT)
]

FIELDS: Mapping[str, Callable[[BuildRequest], str]] = {
    **{name: _exact(name) for name in _TEXTS},
    **{
        f"{name}_{ending}": _form(make, name)
        for name in _TEXTS
        if name.endswith("_id")
        for ending, make in _FORMS.items()
    },
    "accepted_at": lambda build: rfc3339(build.accepted_at) or "",
    "correlation_hash": lambda build: correlation_hash_label(build.correlation_id),
    "event_hash_label": lambda build: event_hash_label(build.event_hash),
    "hash": lambda build: build.event_hash[:_HASH_DIGITS],
}
"""What a placeholder of that name stands for; an optional field that is absent is empty."""

# What is no name is caught too, so that a typing error is told instead of left standing.
_TOKEN = re.compile(r"\$\$|\$\{([^}]*)\}|\$\{")


class PlaceholderError(ValueError):
    """A text has a placeholder that stands for nothing; the message names it."""


class Text:
    """A text with placeholders, read once. Immutable."""

    __slots__ = ("_format", "_values", "begins_with_a_value", "names")

    def __init__(self, source: str, known: frozenset[str]) -> None:
        """Read ``source``; raises ``PlaceholderError`` for a placeholder not in ``known``."""
        # Literal text at even places, names at odd ones.
        parts = tuple(_parse(source, known))
        self.names = frozenset(parts[1::2])
        """The placeholders in it."""
        self.begins_with_a_value = bool(self.names) and not parts[0]
        self._format = "%s".join(literal.replace("%", "%%") for literal in parts[::2])
        self._values = itemgetter(*parts[1::2]) if self.names else lambda _values: ()

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with ``values`` in place of the names."""
        return self._format % self._values(values)


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
