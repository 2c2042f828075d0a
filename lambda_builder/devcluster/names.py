"""Names, labels and annotations: which are valid, and how the API server words it if not."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from lambda_builder.devcluster.objects import Json
from lambda_builder.devcluster.statuses import Cause, invalid_value, required

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_dns_label = re.compile(_LABEL).fullmatch
_dns_subdomain = re.compile(_SUBDOMAIN).fullmatch
_qualified = re.compile(_QUALIFIED).fullmatch

_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    r"for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
    "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_KEY_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value', "
    " or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_MAX_ANNOTATIONS = 256 * 1024


def check_metadata(meta: Json) -> Iterator[Cause]:
    """Name, labels and annotations, for any kind."""
    name = meta.get("name") or ""
    if len(name) > 253:
        yield invalid_value("metadata.name", name, "must be no more than 253 bytes")
    if not _dns_subdomain(name):
        yield invalid_value("metadata.name", name, _SUBDOMAIN_WORDS)
    yield from check_labels("metadata.labels", meta.get("labels"))
    annotations = meta.get("annotations") or {}
    size = 0
    for key, value in annotations.items():
        if not _is_key(key.lower()):
            yield from _bad_key("metadata.annotations", key.lower())
        size += len(key) + len(value)
    if (
        size > _MAX_ANNOTATIONS
        and sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())
        > _MAX_ANNOTATIONS
    ):
        yield Cause(
            "metadata.annotations",
            "FieldValueTooLong",
            f"Too long: may not be more than {_MAX_ANNOTATIONS} bytes",
        )


def check_labels(path: str, labels: dict[str, str] | None) -> Iterator[Cause]:
    """What is wrong with labels, for any kind."""
    for key, value in (labels or {}).items():
        if not _is_key(key):
            yield from _bad_key(path, key)
        if len(value) > 63:
            yield invalid_value(path, value, "must be no more than 63 bytes")
        elif value and not _qualified(value):
            yield invalid_value(path, value, _VALUE_WORDS)


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (prefix and len(prefix) <= 253 and _dns_subdomain(prefix)):
        return False
    return 0 < len(name) <= 63 and _qualified(name) is not None


def _bad_key(path: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        words = "a valid label key must consist of a name part with an optional DNS prefix"
        yield invalid_value(path, key, words)
        return
    if slash and not prefix:
        yield invalid_value(path, key, "prefix part must be non-empty")
    elif slash and not _dns_subdomain(prefix):
        yield invalid_value(path, key, "prefix part " + _SUBDOMAIN_WORDS)
    if not name:
        yield invalid_value(path, key, "name part must be non-empty")
    elif len(name) > 63:
        yield invalid_value(path, key, "name part must be no more than 63 bytes")
    elif not _qualified(name):
        yield invalid_value(path, key, _KEY_WORDS)


class NameList:
    """Names in a list: each there, a DNS label, and used once."""

    def __init__(self, path: str, items: Iterable[Json]) -> None:
        self.causes: list[Cause] = []
        self.seen: set[str] = set()
        for number, item in enumerate(items):
            name, where = item.get("name") or "", f"{path}[{number}].name"
            if not name:
                self.causes.append(required(where))
            elif len(name) > 63:
                self.causes.append(invalid_value(where, name, "must be no more than 63 bytes"))
            elif not _dns_label(name):
                self.causes.append(invalid_value(where, name, _LABEL_WORDS))
            elif name in self.seen:
                self.causes.append(
                    Cause(where, "FieldValueDuplicate", f'Duplicate value: "{name}"')
                )
            self.seen.add(name)


def generate_name(base: str) -> str:
    """A base of at most 58 characters and five random ones, as the API server makes names."""
    return base[:58] + "".join(random.choices(_SUFFIX, k=5))
