"""ResourceQuota: how many Jobs and pods a namespace may hold, and how many it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from lambda_builder.devcluster.objects import JOBS, PODS, RESOURCE_QUOTAS, Obj, Resource, loads
from lambda_builder.devcluster.pods import has_ended
from lambda_builder.devcluster.quantities import compare
from lambda_builder.devcluster.selection import Selector
from lambda_builder.devcluster.statuses import forbidden
from lambda_builder.devcluster.store import Change, Store


class Quotas:
    """Checks new objects, and keeps ``status.used`` as things come and go.

    Counts ``count/jobs.batch``, ``count/pods`` and ``pods``, which leaves out pods that have ended
    (https://kubernetes.io/docs/concepts/policy/resource-quotas/). Other names are kept, but bound
    nothing. On the server's thread only.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._quotas = store.of(RESOURCE_QUOTAS)
        self._live_pods: Counter[str] = Counter()
        store.of(JOBS).listeners.append(self._job_changed)
        store.of(PODS).listeners.append(self._pod_changed)

    def check(self, resource: Resource, namespace: str, name: str) -> None:
        """Raise 403 where one more object would exceed a quota of its namespace."""
        for quota in self._of(namespace):
            status = loads(quota.status)
            hard, used = status.get("hard", {}), status.get("used", {})
            over = [
                counted
                for counted in _counted_as(resource)
                if counted in hard and compare(int(used[counted]) + 1, hard[counted]) > 0
            ]
            if over:
                raise forbidden(
                    resource,
                    name,
                    f"exceeded quota: {quota.name}, requested: {_pairs((n, 1) for n in over)}, "
                    f"used: {_pairs((n, used[n]) for n in over)}, "
                    f"limited: {_pairs((n, hard[n]) for n in over)}",
                )

    def recount(self, namespace: str) -> None:
        """Bring the status of a namespace's quotas up to date."""
        for quota in tuple(self._of(namespace)):
            value = quota.decode()
            hard = {name: str(most) for name, most in value.get("spec", {}).get("hard", {}).items()}
            counts = self._counts(namespace)
            status = {"hard": hard, "used": {n: str(counts[n]) for n in hard if n in counts}}
            if status != value.get("status"):
                self._store.put(quota.with_status(status))

    def _of(self, namespace: str) -> Iterator[Obj]:
        return self._quotas.select(namespace, Selector()) if self._quotas.objects else iter(())

    def _counts(self, namespace: str) -> dict[str, int]:
        return {
            "count/jobs.batch": self._store.of(JOBS).remaining(namespace, ""),
            "count/pods": self._store.of(PODS).remaining(namespace, ""),
            "pods": self._live_pods[namespace],
        }

    def _job_changed(self, change: Change) -> None:
        if change.type != "MODIFIED":
            self.recount(change.obj.namespace)

    def _pod_changed(self, change: Change) -> None:
        before = change.old is not None and not has_ended(change.old)
        now = change.type != "DELETED" and not has_ended(change.obj)
        namespace = change.obj.namespace
        self._live_pods[namespace] += now - before
        if now != before or change.type != "MODIFIED":
            self.recount(namespace)


def _counted_as(resource: Resource) -> tuple[str, ...]:
    counted = f"count/{resource.qualified}"
    return (counted, resource.plural) if resource is PODS else (counted,)


def _pairs(amounts: Iterable[tuple[str, object]]) -> str:
    return ",".join(f"{name}={amount}" for name, amount in sorted(amounts))
