"""What the simulated controllers write: new versions of Jobs and pods, and events about them."""

from __future__ import annotations

import time
import uuid
from collections import deque

from lambda_builder.devcluster.admission import plain_object
from lambda_builder.devcluster.jobs import job_fields
from lambda_builder.devcluster.objects import EVENTS, JOBS, PODS, Json, Obj, timestamp
from lambda_builder.devcluster.pods import counted, fields, has_ended
from lambda_builder.devcluster.runs import Run
from lambda_builder.devcluster.store import Store

_MAX_EVENTS = 20_000


class Ledger:
    """Writes for a run. On the server's thread only. The oldest events go beyond a number."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recorded: deque[tuple[str, str]] = deque()

    def write(self, run: Run, status: Json) -> Obj:
        """Give the run's Job a new status."""
        job = self._store.of(JOBS).objects[run.key]
        return self._store.put(job.with_status(status, job_fields(status)))

    def add_pod(self, pod: Obj) -> None:
        """Store a new pod."""
        self._store.put(pod)

    def write_pod(self, run: Run, phase: str, status: Json) -> Obj:
        """Give the run's pod a new status."""
        pod = self._store.of(PODS).objects[f"{run.namespace}/{run.pod}"]
        pod = pod.with_status(status, fields(phase))
        return self._store.put(counted(pod) if has_ended(pod) else pod)

    def remove_pod(self, run: Run) -> Obj | None:
        """Remove the run's pod; None where it has none."""
        pod = self._store.of(PODS).get(run.namespace, run.pod) if run.pod else None
        return self._store.remove(pod) if pod is not None else None

    def record(
        self, about: Obj, type: str, reason: str, message: str, component: str = "job-controller"
    ) -> Obj:
        """Record a new event about an object."""
        now = timestamp()
        name = f"{about.name}.{time.time_ns():x}"
        event = plain_object(
            EVENTS,
            {
                "metadata": {
                    "name": name,
                    "namespace": about.namespace,
                    "uid": str(uuid.uuid4()),
                    "creationTimestamp": now,
                },
                "involvedObject": {
                    "kind": about.resource.kind,
                    "namespace": about.namespace,
                    "name": about.name,
                    "uid": about.uid,
                    "apiVersion": about.resource.api_version,
                    "resourceVersion": str(about.rv),
                },
                "reason": reason,
                "message": message,
                "source": {"component": component},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "type": type,
                "eventTime": None,
                "reportingComponent": component,
                "reportingInstance": "",
            },
        )
        event = self._store.put(event)
        self._recorded.append((event.namespace, event.name))
        if len(self._recorded) > _MAX_EVENTS:
            oldest = self._store.of(EVENTS).get(*self._recorded.popleft())
            if oldest is not None:
                self._store.remove(oldest)
        return event

    def again(self, event: Obj) -> None:
        """Count an event once more, as the real recorder does with one that repeats."""
        stored = self._store.of(EVENTS).get(event.namespace, event.name)
        if stored is not None:
            value = stored.decode()
            value["count"] += 1
            value["lastTimestamp"] = timestamp()
            self._store.put(plain_object(EVENTS, value))
