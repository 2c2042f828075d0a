"""What the API server refuses with 422 Invalid: rules over a defaulted Job, in its own words.

Wrong types never come here; ``decoding`` has refused them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from lambda_builder.devcluster.names import NameList, check_labels, check_metadata
from lambda_builder.devcluster.objects import Json
from lambda_builder.devcluster.quantities import compare, is_negative
from lambda_builder.devcluster.statuses import Cause, invalid_value, required, unsupported

_NOT_NEGATIVE = (
    "parallelism",
    "completions",
    "backoffLimit",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_POD_FAILURE_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def check_job(job: Json) -> list[Cause]:
    """Everything wrong with a Job whose defaults are filled in."""
    spec = job["spec"]
    pod = spec["template"]["spec"]
    causes = list(check_metadata(job["metadata"]))
    for field in _NOT_NEGATIVE:
        causes += _not_negative(f"spec.{field}", spec.get(field))
    if spec["completionMode"] not in ("NonIndexed", "Indexed"):
        causes.append(
            unsupported("spec.completionMode", spec["completionMode"], ("NonIndexed", "Indexed"))
        )
    elif spec.get("backoffLimitPerIndex") is not None and spec["completionMode"] != "Indexed":
        words = "requires indexed completion mode"
        causes.append(
            invalid_value("spec.backoffLimitPerIndex", spec["backoffLimitPerIndex"], words)
        )
    template_meta = spec["template"]["metadata"]
    causes += check_labels("spec.template.labels", template_meta.get("labels"))
    causes += _check_restart_policy(spec, pod)
    causes += _check_pod_failure_policy(spec, pod)
    causes += _check_pod("spec.template.spec", pod)
    return causes


def _not_negative(path: str, value: int | None, least: int = 0) -> Iterator[Cause]:
    if value is not None and value < least:
        yield invalid_value(path, value, f"must be greater than or equal to {least}")


def _check_restart_policy(spec: Json, pod: Json) -> Iterator[Cause]:
    path = "spec.template.spec.restartPolicy"
    policy = pod["restartPolicy"]
    if policy not in ("OnFailure", "Never"):
        yield unsupported(path, policy, ("OnFailure", "Never"))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        words = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid_value(path, policy, words)


def _check_pod_failure_policy(spec: Json, pod: Json) -> Iterator[Cause]:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    names = {c.get("name") for c in [*pod["containers"], *(pod.get("initContainers") or ())]}
    for number, rule in enumerate(policy.get("rules") or ()):
        path = f"spec.podFailurePolicy.rules[{number}]"
        action = rule.get("action")
        if not action:
            words = f"valid values: {', '.join(_POD_FAILURE_ACTIONS)}"
            yield required(f"{path}.action", words)
        elif action not in _POD_FAILURE_ACTIONS:
            yield unsupported(f"{path}.action", action, _POD_FAILURE_ACTIONS)
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if codes is not None and conditions:
            words = "specifying both OnExitCodes and OnPodConditions is not supported"
            yield invalid_value(path, rule, words)
        elif codes is None and not conditions:
            words = "specifying one of OnExitCodes and OnPodConditions is required"
            yield invalid_value(path, rule, words)
        elif codes is not None:
            yield from _check_exit_codes(f"{path}.onExitCodes", codes, names)


def _check_exit_codes(path: str, codes: Json, names: set[Any]) -> Iterator[Cause]:
    operator, values = codes.get("operator"), codes.get("values") or []
    if operator not in ("In", "NotIn"):
        yield unsupported(f"{path}.operator", operator or "", ("In", "NotIn"))
    if codes.get("containerName") is not None and codes["containerName"] not in names:
        words = "must be one of the container or initContainer names in the pod template"
        yield invalid_value(f"{path}.containerName", codes["containerName"], words)
    if not values:
        yield invalid_value(f"{path}.values", values, "at least one value is required")
    if operator == "In" and 0 in values:
        yield invalid_value(
            f"{path}.values[{values.index(0)}]", 0, "must not be 0 for the In operator"
        )


def _check_pod(path: str, pod: Json) -> Iterator[Cause]:
    volumes = NameList(f"{path}.volumes", pod.get("volumes") or ())
    yield from volumes.causes
    yield from _not_negative(f"{path}.activeDeadlineSeconds", pod.get("activeDeadlineSeconds"), 1)
    yield from _not_negative(
        f"{path}.terminationGracePeriodSeconds", pod.get("terminationGracePeriodSeconds")
    )
    if not pod["containers"]:
        yield required(f"{path}.containers")
    for field in ("initContainers", "containers"):
        listed = pod.get(field) or ()
        yield from NameList(f"{path}.{field}", listed).causes
        for number, container in enumerate(listed):
            yield from _check_container(f"{path}.{field}[{number}]", container, volumes.seen)


def _check_container(path: str, container: Json, volumes: set[str]) -> Iterator[Cause]:
    image = container.get("image") or ""
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        words = "must not have leading or trailing whitespace"
        yield invalid_value(f"{path}.image", image, words)
    if container["imagePullPolicy"] not in _PULL_POLICIES:
        yield unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES)
    for number, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield required(f"{path}.env[{number}].name")
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{path}.volumeMounts[{number}]"
        if not mount.get("name"):
            yield required(f"{where}.name")
        elif mount["name"] not in volumes:
            yield Cause(f"{where}.name", "FieldValueNotFound", f'Not found: "{mount["name"]}"')
        if not mount.get("mountPath"):
            yield required(f"{where}.mountPath")
    yield from _check_resources(f"{path}.resources", container.get("resources") or {})


def _check_resources(path: str, resources: Json) -> Iterator[Cause]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            if is_negative(amount):
                words = "must be greater than or equal to 0"
                yield invalid_value(f"{path}.{field}[{name}]", str(amount), words)
            elif "/" not in name and name not in _STANDARD_RESOURCES and not _is_huge(name):
                words = "must be a standard resource for containers"
                yield invalid_value(f"{path}.{field}[{name}]", name, words)
    for name, amount in requests.items():
        if name in limits and compare(amount, limits[name]) > 0:
            words = f"must be less than or equal to {name} limit of {limits[name]}"
            yield invalid_value(f"{path}.requests", str(amount), words)


_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
_is_huge: Callable[[str], object] = re.compile(r"hugepages-.+").fullmatch
