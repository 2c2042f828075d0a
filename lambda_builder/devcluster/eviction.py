"""``pods/{name}/eviction``: a pod is taken away, unless a disruption budget forbids it."""

from __future__ import annotations

from lambda_builder.devcluster.deletion import Deletion
from lambda_builder.devcluster.faults import Faults
from lambda_builder.devcluster.objects import Json, Obj, dumps, loads
from lambda_builder.devcluster.pods import phase_of
from lambda_builder.devcluster.runs import condition
from lambda_builder.devcluster.statuses import ApiError, bad_request
from lambda_builder.devcluster.store import Store

_DONE = dumps(
    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
)


class Evictions:
    """Evicts pods. The budgets are faults of the kind ``refuse_eviction``.

    As the real one (``pkg/registry/core/pod/storage/eviction.go``), it asks the budget only for
    pods that run. On the server's thread only.
    """

    def __init__(self, store: Store, faults: Faults, deletion: Deletion) -> None:
        self._store = store
        self._faults = faults
        self._deletion = deletion

    def evict(self, pod: Obj, eviction: Json, *, dry_run: bool) -> bytes:
        """Mark and delete a pod, and return the answer's body; raises 429 for the budget."""
        meta, options = (eviction.get(field) or {} for field in ("metadata", "deleteOptions"))
        if not isinstance(meta, dict) or not isinstance(options, dict):
            raise bad_request("metadata and deleteOptions of an Eviction are objects")
        if meta.get("name") != pod.name:
            raise bad_request("name in URL does not match name in Eviction object")
        if phase_of(pod) == "Running" and not pod.deleting:
            self._ask_budget(pod)
        if dry_run or options.get("dryRun"):
            return _DONE
        if phase_of(pod) in ("Pending", "Running") and not pod.deleting:
            status = loads(pod.status)
            status["conditions"].append(
                condition("DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting")
            )
            pod = self._store.put(pod.with_status(status))
        self._deletion.delete(pod, options)
        return _DONE

    def _ask_budget(self, pod: Obj) -> None:
        fault = self._faults.for_eviction(pod.name)
        if fault is None:
            return
        words = fault.message or (
            "The disruption budget devcluster needs 1 healthy pods and has 1 currently"
        )
        details: Json = {"causes": [{"reason": "DisruptionBudget", "message": words}]}
        if fault.retry_after is not None:
            details["retryAfterSeconds"] = fault.retry_after
        message = "Cannot evict pod as it would violate the pod's disruption budget."
        raise ApiError(429, "TooManyRequests", message, details)
