"""Deleting: propagation, finalizers, and the garbage collector's part of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lambda_builder.devcluster.objects import JOBS, PODS, Json, Obj, dumps, timestamp
from lambda_builder.devcluster.selection import parse
from lambda_builder.devcluster.statuses import bad_request, conflict
from lambda_builder.devcluster.store import Store
from lambda_builder.devcluster.timers import Timers

_POLICIES = ("Background", "Foreground", "Orphan")
_WARNING = (
    "Warning",
    '299 - "child pods are preserved by default when jobs are deleted; set '
    "propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress "
    'this warning"',
)
Headers = tuple[tuple[str, str], ...]


class Deletion:
    """Removes objects and what they own. On the server's thread only.

    ``seconds`` is how long a foreground deletion stays visible.
    """

    def __init__(
        self, store: Store, timers: Timers, seconds: float, removed: Callable[[Obj], None]
    ) -> None:
        self._store = store
        self._timers = timers
        self._seconds = seconds
        self._removed = removed

    def delete(self, obj: Obj, options: Json) -> tuple[bytes, Headers]:
        """Delete as the options say; returns the answer's body and headers."""
        policy, headers = _policy(obj, options)
        _check_preconditions(obj, options)
        if options.get("dryRun"):
            return _success(obj), headers
        if obj.deleting:
            return obj.encode(), headers
        meta = obj.decode_meta()
        finalizers = list(meta.get("finalizers", []))
        if policy == "Foreground":
            finalizers.append("foregroundDeletion")
        if not finalizers:
            removed = self._remove(obj, policy)
            # Deleting a pod answers with the pod, as deletion usually takes its time.
            return (removed.encode() if obj.resource is PODS else _success(obj)), headers
        meta |= {
            "finalizers": finalizers,
            "deletionTimestamp": timestamp(),
            "deletionGracePeriodSeconds": 0,
        }
        obj = self._store.put(obj.with_meta(meta))
        self._removed(obj)
        if policy == "Foreground":
            self._timers.after(self._seconds, partial(self._collect, obj))
        elif policy == "Background":
            self._remove_pods(obj)
        return obj.encode(), headers

    def finalized(self, obj: Obj) -> bool:
        """Remove an object whose last finalizer is gone; says whether it was."""
        if not obj.deleting or obj.decode_meta().get("finalizers"):
            return False
        self._remove(obj, "Background")
        return True

    def _collect(self, deleted: Obj) -> None:
        obj = self._store.of(deleted.resource).get(deleted.namespace, deleted.name)
        if obj is None or obj.uid != deleted.uid:
            return
        self._remove_pods(obj)
        meta = obj.decode_meta()
        meta["finalizers"] = [f for f in meta["finalizers"] if f != "foregroundDeletion"]
        obj = self._store.put(obj.with_meta(meta))
        self.finalized(obj)

    def _remove(self, obj: Obj, policy: str) -> Obj:
        removed = self._store.remove(obj)
        self._removed(removed)
        if obj.resource is JOBS and policy == "Orphan":
            for pod in self._pods_of(obj):
                meta = pod.decode_meta()
                meta.pop("ownerReferences", None)
                self._store.put(pod.with_meta(meta))
        elif obj.resource is JOBS:
            self._remove_pods(obj)
        return removed

    def _remove_pods(self, job: Obj) -> None:
        for pod in self._pods_of(job):
            self._removed(self._store.remove(pod))

    def _pods_of(self, job: Obj) -> list[Obj]:
        selector = parse(f"batch.kubernetes.io/controller-uid={job.uid}", "")
        return list(self._store.of(PODS).select(job.namespace, selector))


def _policy(obj: Obj, options: Json) -> tuple[str, Headers]:
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") in (True, "true"):
        policy = "Orphan"
    if policy is None:
        return ("Orphan", (_WARNING,)) if obj.resource is JOBS else ("Background", ())
    if policy not in _POLICIES:
        supported = ", ".join(f'"{p}"' for p in (*_POLICIES[1:], _POLICIES[0], "nil"))
        raise bad_request(
            f'invalid DeleteOptions: propagationPolicy: Unsupported value: "{policy}": supported '
            f"values: {supported}"
        )
    return policy, ()


def _check_preconditions(obj: Obj, options: Json) -> None:
    wanted = options.get("preconditions") or {}
    for field, have in (("uid", obj.uid), ("resourceVersion", str(obj.rv))):
        if wanted.get(field) not in (None, have):
            shown = "UID" if field == "uid" else "ResourceVersion"
            raise conflict(
                obj.resource,
                obj.name,
                f"Precondition failed: {shown} in precondition: {wanted[field]}, "
                f"{shown} in object meta: {have}",
            )


def _success(obj: Obj) -> bytes:
    resource = obj.resource
    details = {"name": obj.name, "kind": resource.plural, "uid": obj.uid}
    if resource.group:
        details["group"] = resource.group
    return dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
    )
