"""Enough of PromQL to see which series and labels a query names."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORDS = frozenset(
    ("by", "without", "on", "ignoring", "and", "or", "unless", "offset", "bool", "group_left")
)
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_MATCHERS = re.compile(r"\{[^}]*\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w.$])([a-zA-Z_:][\w:]*)\b(?!\s*\()")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")


def series_of(query: str) -> set[str]:
    """Return the names of the series that ``query`` reads."""
    bare = query
    for pattern in (_STRING, _MATCHERS, _RANGE, _GROUPING):
        bare = pattern.sub(" ", bare)
    bare = re.sub(r"\boffset\s+\w+", " ", bare)
    return {name for name in _NAME.findall(bare) if name not in _WORDS}


def labels_of_series(query: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each series with the labels that it is selected by."""
    for name, matchers in _SELECTOR.findall(_STRING.sub("x", query)):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
