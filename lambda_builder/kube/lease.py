"""Leadership: of several replicas one at a time, by a Lease, and never one that may have lost it.

The rules are client-go's (``tools/leaderelection/leaderelection.go``): a Lease is somebody's until
it was not seen to change for its duration, by the clock of whoever looks; its times are for people
and compared with no clock. Whoever holds it leads no longer than two thirds of that after the last
renewal began. ``kubernetes.leaderelection`` is not used: it goes by the wall clock, cannot be
stopped, and makes calls without a timeout.

Spec: https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from lambda_builder.errors import AttemptFailed
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.errors import Conflict, NotFound
from lambda_builder.threads import Background

LEASE_NAME = "lambda-builder-events"
_RENEW_JITTER = 0.2
_RENEW_DEADLINE = 2 / 3
"""Share of the duration after which an unrenewed Lease is not relied on, as client-go's 10 s of
15: clocks do not run alike, and what was begun while leading takes a while to end."""
_TIMEOUT_SHARE = 0.25
"""Of the duration; a step makes two requests, and has to be over before the deadline is."""

Lease = dict[str, Any]


def identity() -> str:
    """Return a name that no other process has: the pod's or host's, and something random."""
    host = os.environ.get("POD_NAME") or socket.gethostname()
    return f"{host}_{secrets.token_hex(4)}"


class Leadership:
    """Takes and keeps the Lease; thread-safe, starts and stops as ``Background``."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        me: str,
        *,
        duration_seconds: int = 15,
        renew_seconds: float = 3.0,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``me`` is this process's ``identity``; nobody else takes a Lease before it has not been
        renewed for ``duration_seconds``."""
        self._client = client
        self._namespace, self._me = namespace, me
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._duration, self._renew = duration_seconds, renew_seconds
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._clock = clock
        self._lease: Lease = {}
        """As last read or written."""
        self._observed: tuple[Any, float] = (None, 0.0)
        """What the Lease says, and since when it has been seen to say that."""
        self._leads_until = -1.0
        self._was_leader = False
        self._thread = Background("leader-election", self._loop)

    @property
    def is_leader(self) -> bool:
        """Whether the Lease is surely this process's now."""
        return not self._thread.stopping.is_set() and self._clock() < self._leads_until

    def start(self) -> None:
        """Stand for election; does nothing after ``stop``."""
        self._thread.start()

    def resign(self) -> None:
        """Lead no more, and give the Lease up soon, in the election's own thread."""
        self._thread.ask_to_stop()

    def stop(self, timeout: float) -> list[str]:
        """Resign, and wait until the Lease is given up, if the API answers in time.

        Returns the thread's name if it is still alive after ``timeout`` seconds.
        """
        return self._thread.stop(timeout)

    # -- the thread ----------------------------------------------------------------------------

    def _loop(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            self._try_once()
            self._tell()
            stopping.wait(self._renew * self._rng.uniform(1 - _RENEW_JITTER, 1))
        try:
            self._release()
        except AttemptFailed as error:
            structlog.get_logger().warning("lease_not_given_up", error=str(error))

    def _try_once(self) -> None:
        began = self._clock()
        try:
            held = self._acquire_or_renew()
        except AttemptFailed as error:
            structlog.get_logger().warning("lease_not_renewed", error=str(error))
            return
        except Exception:  # noqa: BLE001 - a Lease that somebody broke must not end the election
            structlog.get_logger().exception("lease_not_renewed")
            return
        # Others count from when they saw the renewal, which is later than this.
        self._leads_until = began + self._duration * _RENEW_DEADLINE if held else -1.0

    def _tell(self) -> None:
        if self.is_leader != self._was_leader:
            self._was_leader = not self._was_leader
            structlog.get_logger().info(
                "leadership_gained" if self._was_leader else "leadership_lost", lease=LEASE_NAME
            )

    # -- the step ------------------------------------------------------------------------------

    def _acquire_or_renew(self) -> bool:
        """Do one step; returns whether the Lease is held now. Raises as ``KubeClient.request``."""
        try:
            lease = self._request("get_lease", "GET", f"{self._leases}/{LEASE_NAME}")
        except NotFound:
            self._lease = {}
            return self._write("create_lease", "POST", self._leases, self._taken({}))
        self._lease = lease
        spec = lease.get("spec") or {}
        if spec != self._observed[0]:
            self._observed = (spec, self._clock())
        if self._is_others(spec):
            return False
        return self._update(self._taken(spec))

    def _is_others(self, spec: Mapping[str, Any]) -> bool:
        holder, duration = spec.get("holderIdentity"), spec.get("leaseDurationSeconds")
        if not holder or holder == self._me:
            return False
        lasts = duration if isinstance(duration, int) and duration > 0 else self._duration
        return self._clock() - self._observed[1] < lasts

    def _taken(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        now, mine = _now(), spec.get("holderIdentity") == self._me
        return {
            **spec,
            "holderIdentity": self._me,
            "leaseDurationSeconds": self._duration,
            "acquireTime": spec.get("acquireTime") if mine else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine else 1),
        }

    def _release(self) -> None:
        """Clear the holder if that is still this process, so that nobody has to wait."""
        spec = dict(self._lease.get("spec") or {})
        if spec.get("holderIdentity") == self._me:
            del spec["holderIdentity"]
            self._update({**spec, "leaseDurationSeconds": 1, "renewTime": _now()})

    def _update(self, spec: Mapping[str, Any]) -> bool:
        # The version in its metadata has the API refuse this if the Lease has changed since.
        return self._write("update_lease", "PUT", f"{self._leases}/{LEASE_NAME}", spec)

    def _write(self, operation: str, method: str, path: str, spec: Mapping[str, Any]) -> bool:
        """Write the Lease; False when somebody else was first."""
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE_NAME, "namespace": self._namespace},
            **self._lease,
            "spec": spec,
        }
        try:
            self._lease = self._request(operation, method, path, body)
        except Conflict:
            return False
        return True

    def _request(self, operation: str, method: str, path: str, body: Lease | None = None) -> Lease:
        return self._client.request(
            operation, method, path, body=body, timeout=self._duration * _TIMEOUT_SHARE
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
