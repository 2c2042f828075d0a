"""Types and unknown fields, as the API server's decoder treats them: a wrong type is a 400,
an unknown field is dropped and told, a null is the same as nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from lambda_builder.devcluster.objects import Json, Resource
from lambda_builder.devcluster.quantities import REGEX_WORDS, is_quantity
from lambda_builder.devcluster.schema import TABLE
from lambda_builder.devcluster.statuses import ApiError, bad_request

# Where a value stands: its parent's place and its own key or index.
Where = tuple[Any, str | int] | None
Check = Callable[[Any, Where, list[str]], None]

_RANGES = {"int32": 2**31, "int64": 2**63}


class Mismatch(Exception):
    """A value that does not fit its field."""


def read_json(body: bytes, kind: str) -> Json:
    """The request's body as an object; 400 for anything else."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): "
            f"couldn't get version/kind; json parse error: {exc}"
        ) from exc
    if not isinstance(value, dict):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get "
            f"version/kind; json parse error: json: cannot unmarshal {_go_name(value)} into Go "
            "value of type struct"
        )
    return value


def _refuse_constant(name: str) -> Any:
    """Take no ``NaN`` or ``Infinity``, which JSON does not have (RFC 8259, 6)."""
    raise ValueError(f"invalid character {name[0]!r} looking for beginning of value")


def decode(value: Json, resource: Resource) -> list[str]:
    """Check types in place and drop what is unknown; returns the unknown fields' paths."""
    for field, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        given = value.setdefault(field, expected)
        if given != expected:
            what = "API version" if field == "apiVersion" else "kind"
            raise bad_request(
                f"the {what} in the data ({given}) does not match the expected {what} ({expected})"
            )
    unknown: list[str] = []
    try:
        _checks()[resource.kind](value, None, unknown)
    except Mismatch as mismatch:
        raise _cannot_handle(resource, str(mismatch)) from mismatch
    except RecursionError as exc:
        raise _cannot_handle(resource, "json: exceeded max depth") from exc
    return unknown


def refuse_unknown(resource: Resource, unknown: list[str]) -> ApiError:
    """Return the refusal of fields that strict validation does not know."""
    words = ", ".join(f'unknown field "{path}"' for path in unknown)
    return _cannot_handle(resource, f"strict decoding error: {words}")


def _cannot_handle(resource: Resource, why: str) -> ApiError:
    kind, version = resource.kind, resource.version
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def _path(where: Where, *, indexes: bool) -> str:
    parts: list[str] = []
    while where is not None:
        where, key = where
        if isinstance(key, str):
            parts.append(f".{key}")
        elif indexes:
            parts.append(f"[{key}]")
    return "".join(reversed(parts)).lstrip(".")


def _go_name(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


@cache
def _checks() -> dict[str, Check]:
    structs: dict[str, _Struct] = {}
    for paragraph in re.split(r"\n(?=\S)", TABLE.strip()):
        name, *listed = paragraph.split()
        structs[name] = _Struct(name, dict(field.split(":") for field in listed))
    checks: dict[str, Check] = dict(structs)
    for struct in structs.values():
        struct.resolve(checks)
    return checks


class _Struct:
    """The check of one struct. Structs name each other, so fields are resolved afterwards."""

    def __init__(self, name: str, types: dict[str, str]) -> None:
        self._name = name
        self._types = types
        self._fields: dict[str, Check] = {}

    def resolve(self, structs: dict[str, Check]) -> None:
        self._fields = {f: _check_for(t, self._name, structs) for f, t in self._types.items()}

    def __call__(self, value: Any, where: Where, unknown: list[str]) -> None:
        if type(value) is not dict:
            raise _mismatch(value, where, f"v1.{self._name}", self._name)
        dropped = []
        for key, item in value.items():
            field = self._fields.get(key)
            if field is None:
                unknown.append(_path((where, key), indexes=True))
                dropped.append(key)
            elif item is None:
                dropped.append(key)
            else:
                field(item, (where, key), unknown)
        for key in dropped:
            del value[key]


def _check_for(type_name: str, owner: str, structs: dict[str, Check]) -> Check:
    if type_name[0] == "[":
        return _list_of(type_name[1:-1], owner, structs)
    if type_name[0] == "{":
        return _map_of(type_name[1:-1], owner, structs)
    return structs[type_name] if type_name in structs else _scalar(type_name, owner)


def _list_of(item_type: str, owner: str, structs: dict[str, Check]) -> Check:
    item_check = _check_for(item_type, owner, structs)

    def check(value: Any, where: Where, unknown: list[str]) -> None:
        if type(value) is not list:
            raise _mismatch(value, where, f"[]{item_type}", owner)
        for number, item in enumerate(value):
            if item is None:
                value[number] = {} if item_type in structs else ""
            else:
                item_check(item, (where, number), unknown)

    return check


def _map_of(item_type: str, owner: str, structs: dict[str, Check]) -> Check:
    item_check = _check_for(item_type, owner, structs)

    def check(value: Any, where: Where, unknown: list[str]) -> None:
        if type(value) is not dict:
            raise _mismatch(value, where, f"map[string]{item_type}", owner)
        for key, item in value.items():
            if item is None:
                value[key] = ""
            elif item_type != "string" or type(item) is not str:
                item_check(item, where, unknown)

    return check


def _scalar(type_name: str, owner: str) -> Check:
    limit = _RANGES.get(type_name)
    accepted = {
        "string": (str,),
        "time": (str,),
        "bool": (bool,),
        "intstr": (str, int),
        "int32": (int,),
        "int64": (int,),
    }.get(type_name)

    def check(value: Any, where: Where, unknown: list[str]) -> None:
        if accepted is None:
            if type_name == "quantity" and not is_quantity(value):
                raise Mismatch(REGEX_WORDS)
        elif type(value) not in accepted or (limit and not -limit <= value < limit):
            raise _mismatch(value, where, type_name, owner)

    return check


def _mismatch(value: object, where: Where, go_type: str, owner: str = "") -> Mismatch:
    got = _go_name(value)
    if got == "number" and go_type in _RANGES:
        got = f"number {value}"
    path = _path(where, indexes=False)
    return Mismatch(
        f"json: cannot unmarshal {got} into Go struct field {owner}.{path} of type {go_type}"
    )
