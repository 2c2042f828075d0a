"""A parsed YAML tree with placeholders in its strings: read once, filled in many times. Pure.

A list item with ``${build_args}`` in it stands for as many items as the build has arguments, each
with ``KEY=value`` in that place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_builder.errors import FailureReason, Permanent
from lambda_builder.manifest.placeholders import PlaceholderError, Text

BUILD_ARGS = "build_args"

_DEEPEST = 50
_SHOWN = 40
"""Characters of a refused value that an error repeats."""
# Where Kubernetes replaces $(NAME) by a variable of the container and $$ by $.
_EXPANDED = re.compile(r"\.(command\[\d+\]|args\[\d+\]|env\[\d+\]\.value|subPathExpr)$")
_ARGUMENT = re.compile(r"\.(command|args)\[\d+\]$")


class TreeError(ValueError):
    """A tree that no manifest can be made of; the message has the path to the place."""


@dataclass(frozen=True, slots=True)
class _Filled:
    """A string with placeholders."""

    text: Text
    expanded: bool
    """Whether Kubernetes expands it, so that a ``$`` of a value has to be doubled."""
    per_argument: bool
    """Whether it is a list item that there is one of for each build argument."""
    leading: bool
    """Whether it is an argument of a command that begins with a value."""

    def fill(self, fields: Mapping[str, str]) -> str:
        """Return the string; raises ``Permanent`` where a value makes an option of it."""
        filled = self.text.fill(fields)
        if self.leading and filled.startswith("-"):
            raise Permanent(
                FailureReason.INVALID_MANIFEST,
                f"{filled[:_SHOWN]!r} of the event would be read as an option of the builder",
            )
        return filled

    def make(self, values: Values, escaped: Mapping[str, str]) -> str:
        return self.fill(escaped if self.expanded else values.fields)

    def per_arguments(self, values: Values, escaped: Mapping[str, str]) -> list[str]:
        """Return the string once for each build argument."""
        items = []
        for argument in values.build_args:
            fields = escaped if self.expanded else values.fields
            shown = argument.replace("$", "$$") if self.expanded else argument
            items.append(self.fill({**fields, BUILD_ARGS: shown}))
        return items


class _Mapping:
    """A mapping whose plain values are there already: most of a manifest is the same each time."""

    __slots__ = ("_holes", "_plain")

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self._plain = {key: None if _is_hole(node) else node for key, node in nodes.items()}
        self._holes = [(key, node) for key, node in nodes.items() if _is_hole(node)]

    def make(self, values: Values, escaped: Mapping[str, str]) -> dict[str, Any]:
        filled = self._plain.copy()
        for key, node in self._holes:
            filled[key] = node.make(values, escaped)
        return filled


class _List:
    """Likewise a list, where some items may stand for several."""

    __slots__ = ("_holes", "_plain")

    def __init__(self, nodes: Sequence[Any]) -> None:
        self._plain = [None if _is_hole(node) else node for node in nodes]
        # From the end on, so that an item which becomes several moves none that is still to come.
        self._holes = [(at, node) for at, node in enumerate(nodes) if _is_hole(node)][::-1]

    def make(self, values: Values, escaped: Mapping[str, str]) -> list[Any]:
        filled = self._plain.copy()
        for at, node in self._holes:
            if isinstance(node, _Filled) and node.per_argument:
                filled[at : at + 1] = node.per_arguments(values, escaped)
            else:
                filled[at] = node.make(values, escaped)
        return filled


@dataclass(frozen=True, slots=True)
class Values:
    """What a tree is filled with."""

    fields: Mapping[str, str]
    build_args: Sequence[str]
    """``KEY=value`` each."""


def plain_tree(value: Any, path: str = "") -> Any:
    """Return a copy of a parsed YAML tree that shares nothing with it nor within itself.

    Raises ``TreeError`` for what JSON has no form for, and for keys that are not plain text.
    """
    if path.count(".") + path.count("[") > _DEEPEST:
        raise TreeError(f"{path[:80]}… is nested too deep, or an alias contains itself")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TreeError(f"{path or 'the manifest'}: the key {key!r} must be text; quote it")
            if "${" in key:
                raise TreeError(f"{path or 'the manifest'}: the key {key!r} has a placeholder")
        return {key: plain_tree(item, _below(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_tree(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise TreeError(f"{path}: {value!r} must be text; quote it")


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


class Tree:
    """A manifest with placeholders. Immutable; may be filled by several threads at once."""

    def __init__(self, manifest: Mapping[str, Any], known: frozenset[str]) -> None:
        """Read ``manifest``, a plain tree, with the placeholders ``known``.

        Raises ``TreeError`` that names every placeholder that stands for nothing.
        """
        self._known = known
        self._names: set[str] = set()
        self._problems: list[str] = []
        self._root = self._read(manifest, "", known)
        if self._problems:
            raise TreeError("\n".join(self._problems))
        self.names = frozenset(self._names - {BUILD_ARGS})
        """The placeholders in it."""

    def fill(self, values: Values) -> dict[str, Any]:
        """Return a manifest that shares nothing mutable with any other.

        Raises ``Permanent`` where a value would be read as an option.
        """
        escaped = {name: value.replace("$", "$$") for name, value in values.fields.items()}
        filled: dict[str, Any] = self._root.make(values, escaped)
        return filled

    def _read(self, value: Any, path: str, known: frozenset[str]) -> Any:
        if isinstance(value, Mapping):
            return _Mapping(
                {
                    key: self._read(item, _below(path, key), self._known)
                    for key, item in value.items()
                }
            )
        if isinstance(value, list):
            known = self._known | {BUILD_ARGS}
            return _List([self._read(item, f"{path}[{n}]", known) for n, item in enumerate(value)])
        if isinstance(value, str) and "$" in value:
            return self._read_text(value, path, known)
        return value

    def _read_text(self, value: str, path: str, known: frozenset[str]) -> str | _Filled:
        try:
            text = Text(value, known)
        except PlaceholderError as error:
            self._problems.append(f"{path}: {error}")
            return ""
        if not text.names:
            return text.fill({})
        self._names |= text.names
        return _Filled(
            text,
            expanded=_EXPANDED.search(path) is not None,
            per_argument=BUILD_ARGS in text.names,
            leading=_ARGUMENT.search(path) is not None and text.begins_with_a_value,
        )


def _is_hole(node: Any) -> bool:
    return isinstance(node, _Mapping | _List | _Filled)
