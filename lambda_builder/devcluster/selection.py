"""Label and field selectors: parsed once per request, then matched against stored objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lambda_builder.devcluster.objects import Obj
from lambda_builder.devcluster.statuses import ApiError, bad_request

_SET_BASED = re.compile(r"^([^\s!=,()]+)\s+(in|notin)\s*\(([^()]*)\)$")
_EQUALITY = re.compile(r"^([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)$")
_EXISTS = re.compile(r"^(!?)\s*([^\s!=,()]+)$")
_COMMA = re.compile(r",(?![^(]*\))")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition; ``values`` holds one value for equality and none for existence."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it."""
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "exists")


@dataclass(frozen=True, slots=True)
class Selector:
    """What a list or watch asked for; an empty one takes everything."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it takes everything."""
        return not self.labels and not self.fields

    def matches(self, obj: Obj) -> bool:
        """Whether an object meets all its requirements."""
        for requirement in self.labels:
            if not requirement.matches(obj.labels):
                return False
        return all(_field_matches(requirement, obj) for requirement in self.fields)

    def exact(self) -> list[tuple[str, frozenset[str]]]:
        """Index entries that, each by itself, hold everything this selector can match."""
        wanted = [(r.key, r.values) for r in self.labels if r.operator == "in"]
        wanted += [("field:" + r.key, r.values) for r in self.fields if r.operator == "in"]
        return wanted

    def only_name(self) -> str | None:
        """The one name that can match, where the selector fixes it."""
        for requirement in self.fields:
            if requirement.key == "metadata.name" and requirement.operator == "in":
                return next(iter(requirement.values))
        return None


def _field_matches(requirement: Requirement, obj: Obj) -> bool:
    if requirement.key == "metadata.name":
        value = obj.name
    elif requirement.key == "metadata.namespace":
        value = obj.namespace
    else:
        value = (obj.fields or {}).get(requirement.key, "")
    return (value in requirement.values) == (requirement.operator == "in")


def parse(labels: str, fields: str) -> Selector:
    """Read both selectors as they stand in the query; a malformed one is a 400."""
    return Selector(_parse_labels(labels), _parse_fields(fields))


def _parse_labels(text: str) -> tuple[Requirement, ...]:
    if not text.strip():
        return ()
    return tuple(_label_requirement(part.strip()) for part in _COMMA.split(text))


def _label_requirement(part: str) -> Requirement:
    if match := _EQUALITY.match(part):
        key, operator, value = match.groups()
        return Requirement(key, "notin" if operator == "!=" else "in", frozenset((value,)))
    if match := _SET_BASED.match(part):
        key, operator, listed = match.groups()
        return Requirement(key, operator, frozenset(v.strip() for v in listed.split(",")))
    if match := _EXISTS.match(part):
        return Requirement(match.group(2), "absent" if match.group(1) else "exists")
    raise bad_request(f"unable to parse requirement: found '{part}', expected: identifier")


def _parse_fields(text: str) -> tuple[Requirement, ...]:
    if not text.strip():
        return ()
    found = []
    for part in text.split(","):
        match = re.match(r"^([^=!]+)(==|=|!=)(.*)$", part.strip())
        if not match:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        key, operator, value = match.groups()
        operator = "notin" if operator == "!=" else "in"
        found.append(Requirement(key, operator, frozenset((value,))))
    return tuple(found)


def number(query: Mapping[str, str], name: str) -> int | None:
    """Return a whole number of the query, None where there is none; another value is a 400."""
    text = query.get(name, "")
    if text and not (text.isascii() and text.isdigit()):
        raise bad_request(f'invalid {name}: strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text) if text else None


def revision(query: Mapping[str, str], current: int) -> int:
    """Return the revision a read is to begin at, 0 for any; one that is yet to come is a 504."""
    text = query.get("resourceVersion", "")
    if text and not (text.isascii() and text.isdigit()):
        raise bad_request(f'invalid resource version "{text}": strconv.ParseUint: invalid syntax')
    asked = int(text or 0)
    if asked > current:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        raise ApiError(
            504,
            "Timeout",
            f"Timeout: Too large resource version: {asked}, current: {current}",
            {"causes": [cause], "retryAfterSeconds": 1},
        )
    return asked
