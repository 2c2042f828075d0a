"""Deleting: propagation, finalizers, and the garbage collector's part of it."""

from __future__ import annotations

import time
from functools import partial
from typing import Protocol

from lambda_builder.devcluster.faults import ActiveFault, Faults
from lambda_builder.devcluster.objects import JOBS, PODS, Json, Obj, dumps, timestamp
from lambda_builder.devcluster.pods import counted, has_ended
from lambda_builder.devcluster.selection import parse
from lambda_builder.devcluster.statuses import bad_request, conflict
from lambda_builder.devcluster.store import Store
from lambda_builder.devcluster.timers import Timers

_GRACE = 30  # seconds; a pod's default, of which it takes what the cluster was made with
_RECHECK_SECONDS = 0.05
_POLICIES = ("Background", "Foreground", "Orphan")
_WARNING = (
    "Warning",
    '299 - "child pods are preserved by default when jobs are deleted; set '
    "propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress "
    'this warning"',
)
Headers = tuple[tuple[str, str], ...]


class Kubelet(Protocol):
    """Who has to know of what goes."""

    def terminating(self, pod: Obj) -> None:
        """A pod is told to end, and will be gone soon."""

    def removed(self, obj: Obj) -> None:
        """A Job is on its way out, or a pod is gone."""


class Deletion:
    """Removes objects and what they own. On the server's thread only.

    ``seconds`` is how long a pod takes to end, and how long at least a foreground deletion shows.
    A fault ``stuck_pods`` keeps pods from ending until it is taken back.
    """

    def __init__(
        self, store: Store, timers: Timers, faults: Faults, seconds: float, kubelet: Kubelet
    ) -> None:
        self._store = store
        self._timers = timers
        self._faults = faults
        self._seconds = seconds
        self._kubelet = kubelet
        self._shown: set[str] = set()  # the uids whose foreground deletion has not shown enough

    def delete(self, obj: Obj, options: Json) -> tuple[bytes, Headers]:
        """Delete as the options say; returns the answer's body and headers."""
        policy, headers = _policy(obj, options)
        _check_preconditions(obj, options)
        if options.get("dryRun"):
            return _success(obj), headers
        if obj.resource is PODS:
            return self._end_pod(obj, _grace(options)).encode(), ()
        if obj.deleting:
            return obj.encode(), headers
        meta = obj.decode_meta()
        finalizers = list(meta.get("finalizers", []))
        if policy == "Foreground":
            finalizers.append("foregroundDeletion")
        if not finalizers:
            self._remove(obj, policy)
            return _success(obj), headers
        meta |= {
            "finalizers": finalizers,
            "deletionTimestamp": timestamp(),
            "deletionGracePeriodSeconds": 0,
        }
        obj = self._store.put(obj.with_meta(meta))
        self._kubelet.removed(obj)
        if policy == "Foreground":
            self._shown.add(obj.uid)
            self._end_pods(obj)
            self._timers.after(self._seconds, partial(self._show_no_more, obj))
        return obj.encode(), headers

    def finalized(self, obj: Obj) -> bool:
        """Remove an object whose last finalizer is gone; says whether it was."""
        if not obj.deleting or obj.decode_meta().get("finalizers"):
            return False
        self._remove(obj, "Background")
        return True

    def _show_no_more(self, deleted: Obj) -> None:
        self._shown.discard(deleted.uid)
        self._collect(deleted)

    def _collect(self, deleted: Obj) -> None:
        """Let an object go that is deleted in the foreground, once all it owned is gone."""
        obj = self._store.of(deleted.resource).get(deleted.namespace, deleted.name)
        if obj is None or obj.uid != deleted.uid or obj.uid in self._shown or self._pods_of(obj):
            return
        meta = obj.decode_meta()
        meta["finalizers"] = [f for f in meta.get("finalizers", ()) if f != "foregroundDeletion"]
        obj = self._store.put(obj.with_meta(meta))
        self.finalized(obj)

    def _remove(self, obj: Obj, policy: str) -> None:
        self._kubelet.removed(self._store.remove(obj))
        if obj.resource is JOBS and policy == "Orphan":
            for pod in self._pods_of(obj):
                meta = counted(pod).decode_meta()
                meta.pop("ownerReferences", None)
                self._store.put(pod.with_meta(meta))
        elif obj.resource is JOBS:
            self._end_pods(obj)

    def _end_pods(self, job: Obj) -> None:
        for pod in self._pods_of(job):
            self._end_pod(pod, _GRACE)

    def _end_pod(self, pod: Obj, grace: int) -> Obj:
        """Tell a pod to end; one that has, or is given no time, goes at once."""
        if has_ended(pod) or grace == 0:
            return self._remove_pod(pod)
        if pod.deleting:
            return pod
        due = timestamp(time.time() + grace)
        meta = {"deletionTimestamp": due, "deletionGracePeriodSeconds": grace}
        pod = self._store.put(pod.with_meta(pod.decode_meta() | meta))
        self._kubelet.terminating(pod)
        self._timers.after(self._seconds, partial(self._pod_ended, pod, None))
        return pod

    def _pod_ended(self, deleted: Obj, held_by: ActiveFault | None) -> None:
        pod = self._store.of(PODS).get(deleted.namespace, deleted.name)
        if pod is None or pod.uid != deleted.uid:
            return
        if held_by is None or held_by.cleared:
            held_by = self._faults.for_job("stuck_pods", pod.labels.get("job-name", ""))
        if held_by is None:
            self._remove_pod(pod)
        else:
            self._timers.after(_RECHECK_SECONDS, partial(self._pod_ended, pod, held_by))

    def _remove_pod(self, pod: Obj) -> Obj:
        removed = self._store.remove(pod)
        self._kubelet.removed(removed)
        job = self._store.of(JOBS).get(pod.namespace, pod.labels.get("job-name", ""))
        if job is not None and job.deleting:
            self._collect(job)
        return removed

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


def _grace(options: Json) -> int:
    given = options.get("gracePeriodSeconds")
    try:
        return _GRACE if given is None else max(0, int(given))
    except (TypeError, ValueError) as exc:
        raise bad_request(f"gracePeriodSeconds: {exc}") from exc


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
