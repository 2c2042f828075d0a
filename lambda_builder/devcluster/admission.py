"""What stands between a request's body and the store: namespace, defaults, validation, policies."""

from __future__ import annotations

import uuid
from typing import Protocol

from lambda_builder.devcluster.jobs import check_update, fill_defaults, job_object, new_job
from lambda_builder.devcluster.names import check_metadata
from lambda_builder.devcluster.objects import (
    JOBS,
    LEASES,
    NAMESPACES,
    RESOURCE_QUOTAS,
    Json,
    Obj,
    Resource,
    dumps,
    interned,
    timestamp,
)
from lambda_builder.devcluster.policies import Policies
from lambda_builder.devcluster.quotas import Quotas
from lambda_builder.devcluster.statuses import Cause, invalid, not_found
from lambda_builder.devcluster.store import Store

# Metadata only the server writes.
_OWN = (
    "uid",
    "creationTimestamp",
    "namespace",
    "name",
    "generateName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)


class Controller(Protocol):
    """Who has to know of new and changed Jobs."""

    def created(self, job: Obj) -> None:
        """Take note of a new Job."""

    def updated(self, job: Obj) -> None:
        """Take note of a changed Job."""


class Admission:
    """Makes storable objects of what clients send, or refuses."""

    def __init__(
        self, store: Store, controller: Controller, policies: Policies, quotas: Quotas
    ) -> None:
        self._store = store
        self._controller = controller
        self._policies = policies
        self._quotas = quotas

    def check_namespace(self, resource: Resource, namespace: str) -> None:
        """Raise 404 where a namespaced object has no such namespace."""
        if resource.namespaced and self._store.of(NAMESPACES).get("", namespace) is None:
            raise not_found(NAMESPACES, namespace)

    def new(self, resource: Resource, value: Json, namespace: str) -> Obj:
        """Return what is to be stored of a new object; raises ``ApiError`` where it is refused."""
        name = value["metadata"]["name"]
        if resource is not JOBS:
            _refuse(resource, name, list(check_metadata(value["metadata"])))
            self._policies.check("create", resource, namespace, name)
            return plain_object(resource, _new_plain(resource, value, namespace))
        job, causes = new_job(value, namespace)
        _refuse(resource, name, causes)
        self._policies.check("create", resource, namespace, name)
        return job_object(job)

    def changed(self, resource: Resource, before: Json, value: Json, subresource: str) -> Obj:
        """What ``before`` becomes; a subresource changes its own part only."""
        if subresource:
            value = {**before, subresource: value.get(subresource, {})}
        elif "status" in before:
            value["status"] = before["status"]
        if resource is JOBS:
            fill_defaults(value)
        _keep_own(before["metadata"], value["metadata"])
        name = before["metadata"]["name"]
        if value.get("spec") != before.get("spec") and resource is JOBS:
            value["metadata"]["generation"] += 1
        if resource is not JOBS:
            _refuse(resource, name, list(check_metadata(value["metadata"])))
            self._policies.check("update", resource, value["metadata"].get("namespace", ""), name)
            return plain_object(resource, value)
        _refuse(resource, name, check_update(before, value))
        self._policies.check("update", resource, value["metadata"]["namespace"], name)
        return job_object(value, int(before["metadata"]["resourceVersion"]))

    def changed_metadata(self, old: Obj, before: Json, meta: Json) -> Obj:
        """What ``old`` becomes with other metadata, where all else stays: ``before`` is its own."""
        _keep_own(before, meta)
        _refuse(old.resource, old.name, list(check_metadata(meta)))
        self._policies.check("update", old.resource, meta.get("namespace", ""), old.name)
        return old.with_meta(meta)

    def created(self, obj: Obj) -> None:
        """Tell the controllers of an object that has been stored."""
        if obj.resource is JOBS:
            self._controller.created(obj)
        elif obj.resource is RESOURCE_QUOTAS:
            self._quotas.recount(obj.namespace)

    def updated(self, obj: Obj) -> None:
        """Tell the controllers of an object that has been changed."""
        if obj.resource is JOBS:
            self._controller.updated(obj)
        elif obj.resource is RESOURCE_QUOTAS:
            self._quotas.recount(obj.namespace)


def _refuse(resource: Resource, name: str, causes: list[Cause]) -> None:
    if causes:
        raise invalid(resource, name, causes)


def _keep_own(before: Json, meta: Json) -> None:
    for field in _OWN:
        if field in before:
            meta[field] = before[field]
        else:
            meta.pop(field, None)
    meta["resourceVersion"] = before["resourceVersion"]
    if "deletionTimestamp" in before and "finalizers" not in meta:
        meta["finalizers"] = []


def _new_plain(resource: Resource, value: Json, namespace: str) -> Json:
    meta = {k: v for k, v in value["metadata"].items() if k not in _OWN}
    meta |= {
        "name": value["metadata"]["name"],
        "uid": str(uuid.uuid4()),
        "creationTimestamp": timestamp(),
    }
    if resource.namespaced:
        meta["namespace"] = namespace
    if resource is NAMESPACES:
        meta["labels"] = {**meta.get("labels", {}), "kubernetes.io/metadata.name": meta["name"]}
        value["spec"] = {"finalizers": ["kubernetes"]}
        value["status"] = {"phase": "Active"}
    elif resource is RESOURCE_QUOTAS:
        value = {**value, "spec": value.get("spec", {}), "status": {}}
    elif resource is LEASES:
        value.setdefault("spec", {})
    return {**value, "metadata": meta}


def plain_object(resource: Resource, value: Json) -> Obj:
    """Encode an object of any kind but Job; its revision is that of its metadata."""
    meta = {k: v for k, v in value["metadata"].items() if k != "resourceVersion"}
    body = b"".join(
        b"," + dumps(key) + b":" + dumps(item)
        for key, item in value.items()
        if key not in ("apiVersion", "kind", "metadata", "status")
    )
    return Obj(
        resource,
        meta.get("namespace", ""),
        meta["name"],
        meta["uid"],
        interned(meta.get("labels", {})),
        dumps(meta),
        (body,),
        dumps(value["status"]) if "status" in value else b"",
        rv=int(value["metadata"].get("resourceVersion", 0)),
        deleting="deletionTimestamp" in meta,
        fields=_fields(value),
    )


def _fields(value: Json) -> dict[str, str] | None:
    about = value.get("involvedObject")
    if not isinstance(about, dict):
        return None
    fields = {f"involvedObject.{key}": str(item) for key, item in about.items()}
    source = value.get("source")
    component = source.get("component", "") if isinstance(source, dict) else ""
    return fields | {
        "reason": value.get("reason", ""),
        "type": value.get("type", ""),
        "source": component,
    }
