"""What the simulated controllers write: new versions of Jobs and pods, and events about them."""

from __future__ import annotations

from lambda_builder.devcluster.events import EventRecorder
from lambda_builder.devcluster.jobs import job_fields
from lambda_builder.devcluster.objects import JOBS, PODS, Json, Obj
from lambda_builder.devcluster.pods import fields
from lambda_builder.devcluster.runs import Run
from lambda_builder.devcluster.store import Store


class Ledger:
    """Writes for a run. On the server's thread only."""

    def __init__(self, store: Store, recorder: EventRecorder) -> None:
        self._store = store
        self._recorder = recorder

    def write(self, run: Run, status: Json) -> Obj:
        """Give the run's Job a new status."""
        job = self._store.of(JOBS).objects[run.key]
        return self._store.put(job.with_status(status, job_fields(status)))

    def add_pod(self, pod: Obj) -> None:
        self._store.put(pod)

    def write_pod(self, run: Run, phase: str, status: Json) -> Obj:
        """Give the run's pod a new status."""
        pod = self._store.of(PODS).objects[f"{run.namespace}/{run.pod}"]
        return self._store.put(pod.with_status(status, fields(phase)))

    def remove_pod(self, run: Run) -> Obj | None:
        """Remove the run's pod; None where it has none."""
        pod = self._store.of(PODS).get(run.namespace, run.pod) if run.pod else None
        return self._store.remove(pod) if pod is not None else None

    def record(
        self, about: Obj, type: str, reason: str, message: str, component: str = "job-controller"
    ) -> Obj:
        """Record an event about an object."""
        return self._recorder.record(about, type, reason, message, component)

    def again(self, event: Obj) -> None:
        """Count an event that repeats once more."""
        self._recorder.again(event)
