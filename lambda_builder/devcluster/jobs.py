"""Jobs as the API server takes them in: defaults, what it sets itself, what must not change."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from functools import cache

from lambda_builder.devcluster.objects import (
    JOBS,
    Json,
    Obj,
    dumps,
    interned,
    loads,
    parse_timestamp,
    timestamp,
)
from lambda_builder.devcluster.statuses import Cause, invalid_value
from lambda_builder.devcluster.validation import check_job

_JOB_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
_IMMUTABLE = ("completions", "selector", "template", "completionMode", "podFailurePolicy")
_TEMPLATE_OF_SUSPENDED = ("nodeSelector", "tolerations", "affinity", "schedulingGates")


def new_job(job: Json, namespace: str) -> tuple[Json, list[Cause]]:
    """Complete a Job that has a name and right types; also says what is invalid in it."""
    given = job.get("metadata") or {}
    name = given["name"]
    uid = str(uuid.uuid4())
    fill_defaults(job)
    spec = job["spec"]
    template_meta = spec["template"]["metadata"]
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "generation": 1,
        "creationTimestamp": timestamp(),
    }
    for field in ("generateName", "labels", "annotations", "finalizers", "ownerReferences"):
        if given.get(field):
            meta[field] = given[field]
    if template_meta.get("labels") and not given.get("labels"):
        meta["labels"] = dict(template_meta["labels"])
    causes = []
    if spec.get("selector") is not None and not spec.get("manualSelector"):
        words = "`selector` not auto-generated"
        causes.append(invalid_value("spec.selector", spec["selector"], words))
    if not spec.get("manualSelector"):
        labels = {**(template_meta.get("labels") or {}), **owner_labels(name, uid)}
        template_meta["labels"] = labels
        spec["selector"] = {"matchLabels": {_UID_LABELS[0]: uid}}
    job["metadata"] = meta
    job["status"] = {}
    return job, causes + check_job(job)


def owner_labels(name: str, uid: str) -> dict[str, str]:
    """The labels by which a Job finds its pods."""
    return dict.fromkeys(_UID_LABELS, uid) | dict.fromkeys(_JOB_LABELS, name)


def fill_defaults(job: Json) -> None:
    """Fill in what the API server fills in where nothing is given."""
    spec = job["spec"] = job.get("spec") or {}
    template = spec["template"] = spec.get("template") or {}
    template["metadata"] = template.get("metadata") or {}
    template["spec"] = template.get("spec") or {}
    _default_spec(spec)
    _default_pod(template["spec"])


def _default_spec(spec: Json) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    defaults = {
        "parallelism": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "Failed"
        if spec.get("podFailurePolicy") is not None
        else "TerminatingOrFailed",
    }
    for field, value in defaults.items():
        if spec.get(field) is None:
            spec[field] = value
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            condition.setdefault("status", "True")


def _default_pod(pod: Json) -> None:
    pod["containers"] = pod.get("containers") or []
    for field, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("securityContext", {}),
        ("schedulerName", "default-scheduler"),
    ):
        if pod.get(field) is None:
            pod[field] = value
    for container in [*(pod.get("initContainers") or ()), *pod["containers"]]:
        image = container.get("image") or ""
        tag = image.rpartition("/")[2].partition(":")[2]
        untagged = "@" not in image and tag in ("", "latest")
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "Always" if untagged else "IfNotPresent")


def check_update(old: Json, new: Json) -> list[Cause]:
    """What is wrong with turning ``old`` into ``new``."""
    causes = check_job(new)
    before, after = old["spec"], new["spec"]
    held = bool(before.get("suspend")) and not old.get("status", {}).get("startTime")
    for field in _IMMUTABLE:
        if before.get(field) == after.get(field):
            continue
        if field == "template" and held and _only_scheduling(before[field], after[field]):
            continue
        causes.append(invalid_value(f"spec.{field}", after.get(field), "field is immutable"))
    return causes


def _only_scheduling(before: Json, after: Json) -> bool:
    def fixed(template: Json) -> Json:
        spec = template["spec"].items()
        return {k: v for k, v in spec if k not in _TEMPLATE_OF_SUSPENDED}

    return fixed(before) == fixed(after)


def job_object(job: Json, rv: int = 0) -> Obj:
    """Encode a complete Job; the pod's specification is its own fragment, for pods to share."""
    meta = {k: v for k, v in job["metadata"].items() if k != "resourceVersion"}
    spec = {k: v for k, v in job["spec"].items() if k != "template"}
    template = job["spec"]["template"]
    lead = b',"spec":' + dumps(spec)[:-1] + b',"template":{"metadata":'
    pod_spec = dumps(template["spec"])[1:]
    status = job.get("status") or {}
    return Obj(
        JOBS,
        meta["namespace"],
        meta["name"],
        meta["uid"],
        interned(meta.get("labels", {})),
        dumps(meta),
        (lead, dumps(template["metadata"]), b',"spec":{', pod_spec, b"}}"),
        dumps(status),
        fields=job_fields(status),
        rv=rv,
        deleting="deletionTimestamp" in meta,
    )


@cache
def _fields(successful: str) -> Mapping[str, str]:
    return {"status.successful": successful}


def job_fields(status: Json) -> Mapping[str, str]:
    """What field selectors on Jobs see."""
    return _fields(str(status.get("succeeded", 0)))


def pod_template(job: Obj) -> tuple[Json, bytes]:
    """The metadata of a stored Job's pods, and their encoded spec without its opening brace."""
    metadata: Json = loads(job.body[1])
    return metadata, job.body[3]


def ttl_left(job: Obj) -> float | None:
    """Return the seconds until a finished Job is to be deleted; None where it is to stay."""
    value = job.decode()
    seconds = value["spec"].get("ttlSecondsAfterFinished")
    ended = [
        c["lastTransitionTime"]
        for c in value["status"].get("conditions", ())
        if c["type"] in ("Complete", "Failed") and c["status"] == "True"
    ]
    if seconds is None or not ended:
        return None
    return parse_timestamp(ended[0]) + float(seconds) - time.time()


def job_state(job: Obj) -> str:
    """A Job's state in one word."""
    if job.deleting:
        return "deleting"
    for mark, state in (
        (b'"type":"Complete"', "succeeded"),
        (b'"type":"Failed"', "failed"),
        (b'"type":"Suspended"', "suspended"),
        (b'"ready":1', "running"),
    ):
        if mark in job.status:
            return state
    return "pending"
