"""One Job under way: what the simulated controller remembers until it has ended."""

from __future__ import annotations

from typing import Any

from lambda_builder.devcluster.faults import ActiveFault
from lambda_builder.devcluster.objects import Json, Obj, loads, timestamp
from lambda_builder.devcluster.pods import Containers


class Run:
    """A Job that has not ended. ``step`` tells timers of an earlier step that they are stale."""

    __slots__ = (
        "backoff_limit",
        "containers",
        "deadline",
        "event",
        "failed",
        "held_by",
        "name",
        "namespace",
        "pod",
        "pod_started",
        "rules",
        "started",
        "step",
        "suspended",
        "ttl",
        "uid",
    )

    def __init__(self, job: Obj) -> None:
        spec = spec_of(job)
        self.namespace = job.namespace
        self.name = job.name
        self.uid = job.uid
        self.containers = Containers.of(spec["template"]["spec"])
        self.step = 0
        self.pod: str | None = None
        self.failed = 0
        self.started: float | None = None
        self.pod_started: float | None = None
        self.held_by: ActiveFault | None = None
        self.event: Obj | None = None
        self.suspended = False
        self.read(spec)
        self.rules: list[Json] = (spec.get("podFailurePolicy") or {}).get("rules") or []

    def read(self, spec: Json) -> None:
        """Take over what of the specification can change."""
        self.suspended = bool(spec.get("suspend"))
        self.backoff_limit: int = spec["backoffLimit"]
        self.deadline: int | None = spec.get("activeDeadlineSeconds")
        self.ttl: int | None = spec.get("ttlSecondsAfterFinished")

    @property
    def key(self) -> str:
        """The key of its Job."""
        return f"{self.namespace}/{self.name}"

    @property
    def pod_key(self) -> str:
        """The key of its pod."""
        return f"{self.namespace}/{self.pod}"

    def next_step(self) -> int:
        """Begin another step; those timed earlier are stale."""
        self.step += 1
        return self.step

    def held(self) -> bool:
        """Whether the fault that holds this Job back is still in force."""
        return self.held_by is not None and not self.held_by.cleared

    def verdict(self, exit_code: int, *, disrupted: bool) -> str:
        """What the Job's pod failure policy says of a failed pod; ``Count`` if nothing.

        ``exit_code`` is 0 where no container ran.
        """
        for rule in self.rules:
            codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
            if codes and exit_code:
                strikes = (exit_code in codes["values"]) == (codes["operator"] == "In")
            else:
                strikes = disrupted and any(c["type"] == "DisruptionTarget" for c in conditions)
            if strikes:
                return str(rule["action"])
        return "Count"

    def status(
        self,
        *,
        active: int = 0,
        ready: int = 0,
        succeeded: int = 0,
        terminating: int = 0,
        conditions: list[Json] | None = None,
        completed: bool = False,
    ) -> Json:
        """The Job's status as it is now."""
        status: Json = {}
        if conditions:
            status["conditions"] = conditions
        if self.started is not None:
            status["startTime"] = timestamp(self.started)
        if completed:
            status["completionTime"] = timestamp()
        if active:
            status["active"] = active
        if succeeded:
            status["succeeded"] = succeeded
        if self.failed:
            status["failed"] = self.failed
        if self.started is not None:
            status |= {"ready": ready, "terminating": terminating, "uncountedTerminatedPods": {}}
        return status


def spec_of(job: Obj) -> Json:
    """Return a copy of a Job's specification."""
    spec: Json = loads(b"".join(job.body).partition(b":")[2])
    return spec


def condition(type: str, reason: str, message: str, status: str = "True") -> dict[str, Any]:
    """Return a Job's condition, as of now."""
    now = timestamp()
    return {
        "type": type,
        "status": status,
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
