"""What is kept: API resources and the objects stored under them.

An object is immutable and made of JSON fragments that are already encoded, so that a new version
of a Job shares its specification with the old one, a list is a join of bytes, and 50,000 of them
stay small. Nothing here knows of HTTP.
"""

from __future__ import annotations

import json
import sys
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

Json = dict[str, Any]

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; lone surrogates become ``?`` instead of an error."""
    try:
        return orjson.dumps(value)
    except TypeError:  # it knows neither those nor integers beyond 64 bits
        return _encode(value).encode("utf-8", "replace")


def loads(data: bytes) -> Any:
    """Parse what ``dumps`` wrote."""
    return orjson.loads(data)


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 in UTC with whole seconds, as ``metav1.Time`` writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def parse_timestamp(text: str) -> float:
    """Return the seconds since the epoch of what ``timestamp`` writes."""
    return float(timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object and where it lives in the API."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    indexed_fields: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ("create", "delete", "get", "list", "patch", "update", "watch")

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name error messages use: ``jobs.batch``, but plain ``pods`` for the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind as validation errors name it: ``Job.batch``, but plain ``Pod``."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


JOBS = Resource(
    "jobs",
    "Job",
    "batch",
    subresources=("status",),
    verbs=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
)
PODS = Resource(
    "pods",
    "Pod",
    short_names=("po",),
    subresources=("eviction", "log", "status"),
    verbs=("delete", "get", "list", "watch"),
)
EVENTS = Resource(
    "events",
    "Event",
    short_names=("ev",),
    indexed_fields=("involvedObject.name", "involvedObject.uid"),
    verbs=("create", "delete", "get", "list", "watch"),
)
LEASES = Resource("leases", "Lease", "coordination.k8s.io")
NAMESPACES = Resource(
    "namespaces",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "get", "list", "watch"),
)
RESOURCE_QUOTAS = Resource(
    "resourcequotas", "ResourceQuota", short_names=("quota",), subresources=("status",)
)
RESOURCES = (JOBS, PODS, EVENTS, LEASES, NAMESPACES, RESOURCE_QUOTAS)


def interned(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels whose strings are shared: thousands of objects have the same ones."""
    return {sys.intern(str(key)): sys.intern(str(value)) for key, value in labels.items()}


class Obj(NamedTuple):
    """One version of one object. Immutable: a change is a new Obj, which shares what it can.

    ``meta`` is the encoded metadata without ``resourceVersion``; ``body`` is what follows the
    metadata (each fragment with its leading comma); ``status`` is encoded JSON or empty.
    """

    resource: Resource
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    meta: bytes
    body: tuple[bytes, ...] = ()
    status: bytes = b""
    fields: Mapping[str, str] | None = None
    rv: int = 0
    deleting: bool = False

    @property
    def key(self) -> str:
        """Namespace and name, as the store orders objects."""
        return f"{self.namespace}/{self.name}"

    def at(self, rv: int) -> Obj:
        """Return the same object as of revision ``rv``."""
        return self._replace(rv=rv)

    def with_status(self, status: Json, fields: Mapping[str, str] | None = None) -> Obj:
        """Return the same with another status, and what field selectors see of it."""
        return self._replace(status=dumps(status), fields=self.fields if fields is None else fields)

    def with_meta(self, meta: Json) -> Obj:
        """Return the same with other metadata, which must agree on name, namespace and uid."""
        labels = meta.get("labels", {})
        return self._replace(
            # The same dict where nothing changed, so that the store need not index it again.
            labels=self.labels if labels == self.labels else interned(labels),
            meta=dumps({k: v for k, v in meta.items() if k != "resourceVersion"}),
            deleting="deletionTimestamp" in meta,
        )

    def decode_meta(self) -> Json:
        """Return a copy of the metadata, without the revision."""
        value: Json = loads(self.meta)
        return value

    def encode(self, *, typed: bool = True) -> bytes:
        """The object as JSON; without ``kind`` and ``apiVersion`` where it is an item of a list."""
        head = (
            f'{{"kind":"{self.resource.kind}","apiVersion":"{self.resource.api_version}",'
            if typed
            else "{"
        )
        lead = f'{head}"metadata":{{"resourceVersion":"{self.rv}",'.encode()
        status = (b',"status":', self.status) if self.status else ()
        return b"".join((lead, self.meta[1:], *self.body, *status, b"}"))

    def decode(self) -> Json:
        """Return a copy of the whole object."""
        value: Json = loads(self.encode())
        return value
