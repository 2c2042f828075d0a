"""Tables: the columns ``kubectl get`` prints, made by the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.jobs import job_state
from lambda_builder.devcluster.objects import Json, Obj, Resource, dumps, parse_timestamp
from lambda_builder.devcluster.rest import Answer, Rest
from lambda_builder.devcluster.routing import Route
from lambda_builder.devcluster.store import Change

_Row = Callable[[Json, Obj], list[Any]]


class Tables:
    """Turns objects into tables for clients that ask for them."""

    def wanted(self, request: Request) -> bool:
        """Whether a request asks for a table."""
        return "as=Table" in request.headers.get("accept", "")

    def answer(self, where: Route, request: Request, resource: Resource, rest: Rest) -> Answer:
        """Answer a read as a table."""
        if where.verb == "get":
            obj = rest.find(where, resource)
            return Answer(200, dumps(_table(resource, {"resourceVersion": str(obj.rv)}, [obj])))
        meta, items = rest.lists.select(where.namespace, request, resource)
        return Answer(200, dumps(_table(resource, meta, items)))

    def watch_encoder(self) -> Callable[[str, Obj, Change | None], bytes]:
        """Return what encodes the events of a watch as tables."""

        def encode(type: str, obj: Obj, change: Change | None) -> bytes:
            meta = {"resourceVersion": str(obj.rv)}
            table = _table(obj.resource, meta, [obj])
            return dumps({"type": type, "object": table}) + b"\n"

        return encode


def _table(resource: Resource, meta: Json, items: list[Obj]) -> Json:
    names, row = _COLUMNS.get(resource.plural, _DEFAULT)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [
            {
                "name": name,
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": 0,
            }
            for name in names
        ],
        "rows": [_row(obj, row) for obj in items],
    }


def _row(obj: Obj, cells: _Row) -> Json:
    value = obj.decode()
    partial = {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value["metadata"],
    }
    return {"cells": cells(value, obj), "object": partial}


def _job(value: Json, obj: Obj) -> list[Any]:
    words = {
        "succeeded": "Complete",
        "failed": "Failed",
        "suspended": "Suspended",
        "deleting": "Terminating",
    }
    status = value.get("status", {})
    done = f"{status.get('succeeded', 0)}/{value['spec'].get('completions', 1)}"
    start, end = status.get("startTime"), status.get("completionTime")
    duration = (
        _span(parse_timestamp(end) - parse_timestamp(start) if end else _since(start))
        if start
        else ""
    )
    return [obj.name, words.get(job_state(obj), "Running"), done, duration, _age(value)]


def _pod(value: Json, obj: Obj) -> list[Any]:
    status = value["status"]
    containers = status.get("containerStatuses", [])
    shown = status["phase"]
    for container in containers:
        for state in container["state"].values():
            shown = state.get("reason", shown)
    if obj.deleting:
        shown = "Terminating"
    ready = sum(container["ready"] for container in containers)
    return [obj.name, f"{ready}/{len(containers)}", shown, "0", _age(value)]


def _event(value: Json, obj: Obj) -> list[Any]:
    about = value["involvedObject"]
    where = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    seen = _span(_since(value.get("lastTimestamp")))
    return [seen, value.get("type"), value.get("reason"), where, value.get("message")]


def _lease(value: Json, obj: Obj) -> list[Any]:
    return [obj.name, value.get("spec", {}).get("holderIdentity", ""), _age(value)]


def _quota(value: Json, obj: Obj) -> list[Any]:
    hard, used = (value["status"].get(field, {}) for field in ("hard", "used"))
    shown = ", ".join(f"{name}: {used.get(name, '?')}/{most}" for name, most in hard.items())
    return [obj.name, shown, "", _age(value)]


def _namespace(value: Json, obj: Obj) -> list[Any]:
    return [obj.name, value["status"]["phase"], _age(value)]


_DEFAULT: tuple[tuple[str, ...], _Row] = (
    ("Name", "Age"),
    lambda value, obj: [obj.name, _age(value)],
)
_COLUMNS: dict[str, tuple[tuple[str, ...], _Row]] = {
    "jobs": (("Name", "Status", "Completions", "Duration", "Age"), _job),
    "pods": (("Name", "Ready", "Status", "Restarts", "Age"), _pod),
    "events": (("Last Seen", "Type", "Reason", "Object", "Message"), _event),
    "leases": (("Name", "Holder", "Age"), _lease),
    "resourcequotas": (("Name", "Request", "Limit", "Age"), _quota),
    "namespaces": (("Name", "Status", "Age"), _namespace),
}


def _age(value: Json) -> str:
    return _span(_since(value["metadata"].get("creationTimestamp")))


def _since(text: str | None) -> float:
    return time.time() - parse_timestamp(text) if text else 0.0


def _span(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 3 * 3600:
        return f"{whole // 60}m"
    return f"{whole // 3600}h" if whole < 48 * 3600 else f"{whole // 86400}d"
