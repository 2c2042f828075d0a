"""A Lease as a lock for the step of ``kubernetes.leaderelection``, over raw requests with timeouts.

Spec: https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes.leaderelection.leaderelectionrecord import LeaderElectionRecord

from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.errors import Conflict, NotFound

Lease = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Absent:
    """What the step takes for the answer that there is no Lease yet."""

    reason: str
    body: str = json.dumps({"code": 404})


class LeaseLock:
    """One Lease, as one candidate sees it; used by one thread.

    Every method raises as ``KubeClient.request``, but for conflicts, which are lost races.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration_seconds: int,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.namespace, self.identity = name, namespace, identity
        self._client = client
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._duration = duration_seconds
        self._timeout = timeout_seconds
        self._clock = clock
        self._lease: Lease | None = None
        self._seen: tuple[Any, float] = (None, 0.0)
        """The holder and its last renewal, and when they were first seen like that."""

    # -- what the step calls -------------------------------------------------------------------

    def get(self, name: str, namespace: str) -> tuple[bool, LeaderElectionRecord | _Absent]:
        """Read the Lease."""
        del namespace
        try:
            self._lease = self._client.request(
                "get_lease", "GET", f"{self._leases}/{name}", timeout=self._timeout
            )
        except NotFound as error:
            self._lease = None
            return False, _Absent(str(error))
        spec = self._spec
        state = (spec.get("holderIdentity"), spec.get("renewTime"))
        if state != self._seen[0]:
            self._seen = (state, self._clock())
        record: Any = LeaderElectionRecord  # the library has no types
        return True, record(
            spec.get("holderIdentity") or None,
            spec.get("leaseDurationSeconds"),
            spec.get("acquireTime"),
            spec.get("renewTime"),
        )

    def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Make the Lease; False when somebody else was first."""
        del election_record
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": self._taken({}),
        }
        return self._write("create_lease", "POST", self._leases, body)

    def update(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Take or renew the Lease; False when it changed since it was read."""
        del namespace, election_record
        if self._lease is None or self._is_kept():
            return False
        body = {**self._lease, "spec": self._taken(self._spec)}
        return self._write("update_lease", "PUT", f"{self._leases}/{name}", body)

    # -- giving it up --------------------------------------------------------------------------

    def release(self) -> None:
        """Clear the holder if that is still this candidate, so that nobody has to wait."""
        if self._spec.get("holderIdentity") != self.identity:
            return
        spec = {name: value for name, value in self._spec.items() if name != "holderIdentity"}
        spec |= {"leaseDurationSeconds": 1, "renewTime": _now()}
        body = {**(self._lease or {}), "spec": spec}
        self._write("update_lease", "PUT", f"{self._leases}/{self.name}", body)

    # -- details -------------------------------------------------------------------------------

    @property
    def _spec(self) -> dict[str, Any]:
        return (self._lease or {}).get("spec") or {}

    def _is_kept(self) -> bool:
        # The step goes by the wall clock, which may jump ahead and make a lease look expired.
        holder = self._spec.get("holderIdentity")
        if not holder or holder == self.identity:
            return False
        return self._clock() - self._seen[1] < self._duration

    def _taken(self, spec: dict[str, Any]) -> dict[str, Any]:
        now = _now()
        mine = spec.get("holderIdentity") == self.identity
        return {
            **spec,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._duration,
            "acquireTime": spec.get("acquireTime") if mine else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine else 1),
        }

    def _write(self, operation: str, method: str, path: str, body: Lease) -> bool:
        try:
            self._lease = self._client.request(
                operation, method, path, body=body, timeout=self._timeout
            )
        except Conflict:
            return False
        return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
