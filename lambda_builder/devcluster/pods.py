"""Pods as the simulated kubelet shows them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from lambda_builder.devcluster.jobs import pod_template
from lambda_builder.devcluster.objects import PODS, Json, Obj, dumps, interned, timestamp

NODE = "devcluster"
JOB_TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer that keeps a pod until the Job controller has counted how it ended."""


@dataclass(frozen=True, slots=True)
class Containers:
    """The (name, image) pairs of a Job's pods."""

    init: tuple[tuple[str, str], ...]
    main: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, pod_spec: Json) -> Containers:
        """Read them from a pod's specification."""

        def pairs(field: str) -> tuple[tuple[str, str], ...]:
            return tuple((c["name"], c["image"]) for c in pod_spec.get(field, ()))

        return cls(pairs("initContainers"), pairs("containers"))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which the containers run."""
        return tuple(name for name, _ in (*self.init, *self.main))


def new_pod(job: Obj, name: str, containers: Containers) -> Obj:
    """A pending pod of a Job."""
    template, spec = pod_template(job)
    labels = interned(template.get("labels", {}))
    meta = {
        "name": name,
        "generateName": f"{job.name}-",
        "namespace": job.namespace,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": timestamp(),
        "labels": labels,
        "finalizers": [JOB_TRACKING],
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": job.name,
                "uid": job.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    if template.get("annotations"):
        meta["annotations"] = template["annotations"]
    lead = f',"spec":{{"nodeName":"{NODE}",'.encode()
    return Obj(
        PODS,
        job.namespace,
        name,
        str(meta["uid"]),
        labels,
        dumps(meta),
        (lead, spec),
        dumps(waiting(containers, "ContainerCreating", "")),
        fields=fields("Pending"),
    )


@cache
def fields(phase: str) -> Mapping[str, str]:
    """What field selectors on pods see."""
    return {"status.phase": phase, "spec.nodeName": NODE}


def phase_of(pod: Obj) -> str:
    """Return the phase of a stored pod."""
    return (pod.fields or {}).get("status.phase", "")


def has_ended(pod: Obj) -> bool:
    """Whether no container of a stored pod will run any more."""
    return phase_of(pod) in ("Succeeded", "Failed")


def counted(pod: Obj) -> Obj:
    """Return the pod as the Job controller leaves it once it has been counted."""
    meta = pod.decode_meta()
    meta.pop("finalizers", None)
    return pod.with_meta(meta)


def waiting(containers: Containers, reason: str, message: str) -> Json:
    """Return the status of a pod whose containers wait."""
    state = {"reason": reason, "message": message} if message else {"reason": reason}
    return _status("Pending", containers, {"waiting": state}, ready=False)


def initializing(containers: Containers, index: int, started: float, ended: Json | None) -> Json:
    """Return the status of a pod whose init container ``index`` runs since ``started``.

    With ``ended`` it has failed, and the pod with it, in that state.
    """
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": timestamp(started)}}
    now: Json = ended or {"running": {"startedAt": timestamp(started)}}
    early = {"waiting": {"reason": "PodInitializing"}}
    states = [done] * index + [now] + [early] * (len(containers.init) - index - 1)
    phase = "Failed" if ended else "Pending"
    return _status(phase, containers, early, ready=False, started=started, init=states)


def running(containers: Containers, started: float) -> Json:
    """Return the status of a pod that runs since ``started`` (seconds since the epoch)."""
    state = {"running": {"startedAt": timestamp(started)}}
    return _status("Running", containers, state, ready=True, started=started)


@dataclass(frozen=True, slots=True)
class Eviction:
    """Why the kubelet evicted a pod; ``reason`` is that of its ``DisruptionTarget``, if it has one.

    Pods that broke a limit of their own have none (kubelet: ``localStorageEviction``).
    """

    message: str
    reason: str | None


def ended_state(
    started: float, ended: float, exit_code: int, reason: str, message: str = ""
) -> Json:
    """Return the state of a container that has ended, with a termination ``message``."""
    state: Json = {
        "exitCode": exit_code,
        "reason": reason,
        "startedAt": timestamp(started),
        "finishedAt": timestamp(ended),
        "containerID": "devcluster://build",
    }
    if message:
        state["message"] = message
    return {"terminated": state}


def terminated(
    containers: Containers,
    started: float,
    ended: float,
    exit_code: int,
    reason: str,
    *,
    message: str = "",
    eviction: Eviction | None = None,
) -> Json:
    """Return the status of a pod whose containers have ended, with a termination ``message``."""
    state = ended_state(started, ended, exit_code, reason, message)
    phase = "Failed" if exit_code else "Succeeded"
    status = _status(phase, containers, state, ready=False, started=started)
    if eviction is not None:
        status |= {"reason": "Evicted", "message": eviction.message}
        if eviction.reason is not None:
            target = {
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": timestamp(),
                "reason": eviction.reason,
                "message": eviction.message,
            }
            status["conditions"].append(target)
    return status


def _status(
    phase: str,
    containers: Containers,
    state: Json,
    *,
    ready: bool,
    started: float = 0.0,
    init: Sequence[Json] | None = None,
) -> Json:
    now = timestamp()
    initialized = phase != "Pending" and init is None
    conditions = [
        ("PodScheduled", True),
        ("Initialized", initialized or not containers.init),
        ("ContainersReady", ready),
        ("Ready", ready),
    ]
    status: Json = {
        "phase": phase,
        "conditions": [
            {"type": kind, "status": str(holds), "lastProbeTime": None, "lastTransitionTime": now}
            for kind, holds in conditions
        ],
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "qosClass": "Burstable",
        "startTime": timestamp(started) if started else now,
        "containerStatuses": [
            _container(name, image, state, ready, phase == "Running")
            for name, image in containers.main
        ],
    }
    if containers.init:
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now}}
        early = {"waiting": {"reason": "PodInitializing"}}
        states = init or [done if initialized else early] * len(containers.init)
        status["initContainerStatuses"] = [
            _container(name, image, each, "terminated" in each, "running" in each)
            for (name, image), each in zip(containers.init, states, strict=True)
        ]
    return status


def _container(name: str, image: str, state: Json, ready: bool, started: bool) -> Json:
    return {
        "name": name,
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": started,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }
