"""The essentials of a batch/v1 Job, checked offline: what the API would refuse, told at boot.

Not the whole schema: the fields that matter for a build and the mistakes that are made, such as a
number where Kubernetes wants text. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LONGEST_NAME = 253
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_TEXT_MAP = {"*": str}
_CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "workingDir": str,
    "imagePullPolicy": str,
    "terminationMessagePath": str,
    "terminationMessagePolicy": str,
    "env": [{"name": str, "value": str, "valueFrom": dict}],
    "envFrom": [dict],
    "volumeMounts": [{"name": str, "mountPath": str, "subPath": str, "readOnly": bool}],
    "resources": {"requests": dict, "limits": dict},
    "securityContext": dict,
}
_POD = {
    "metadata": {"labels": _TEXT_MAP, "annotations": _TEXT_MAP},
    "spec": {
        "containers": [_CONTAINER],
        "initContainers": [_CONTAINER],
        "volumes": [{"name": str, "secret": {"secretName": str, "items": [dict]}}],
        "restartPolicy": str,
        "serviceAccountName": str,
        "runtimeClassName": str,
        "hostUsers": bool,
        "automountServiceAccountToken": bool,
        "nodeSelector": _TEXT_MAP,
        "tolerations": [dict],
        "imagePullSecrets": [{"name": str}],
        "priorityClassName": str,
        "securityContext": dict,
        "terminationGracePeriodSeconds": int,
    },
}
_JOB = {
    "metadata": {"labels": _TEXT_MAP, "annotations": _TEXT_MAP},
    "spec": {
        "template": _POD,
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "completions": int,
        "parallelism": int,
        "ttlSecondsAfterFinished": int,
        "suspend": bool,
        "podFailurePolicy": {"rules": [{"action": str}]},
    },
}
_WORDS = {str: "text", int: "a whole number", bool: "true or false", dict: "a mapping"}


def problems(manifest: Any) -> list[str]:
    """Return what is wrong with ``manifest``, each with the path to it; empty when nothing is."""
    if not isinstance(manifest, dict):
        return [f"must be a mapping, not {_kind(manifest)}"]
    if (manifest.get("apiVersion"), manifest.get("kind")) != ("batch/v1", "Job"):
        return ["must have apiVersion: batch/v1 and kind: Job"]
    found = list(_mistyped(manifest, _JOB, ""))
    # Of a manifest of another shape nothing more can be said.
    return found or list(_incomplete(manifest))


def _mistyped(value: Any, wanted: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        yield from _mistyped_fields(value, wanted, path)
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            yield f"{path} must be a list, not {_kind(value)}"
            return
        for index, item in enumerate(value):
            yield from _mistyped(item, wanted[0], f"{path}[{index}]")
    elif not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        hint = " (quote it)" if wanted is str and isinstance(value, int | float) else ""
        yield f"{path} must be {_WORDS[wanted]}, not {_kind(value)}{hint}"


def _mistyped_fields(value: Any, fields: Mapping[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} must be a mapping, not {_kind(value)}"
        return
    for name, item in value.items():
        wanted = fields.get(name) or fields.get("*")
        # Null is as good as left out, but for an item of a list or of a map of texts.
        if wanted is not None and (item is not None or "*" in fields):
            yield from _mistyped(item, wanted, f"{path}.{name}" if path else name)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "a list"
    return _WORDS.get(type(value), type(value).__name__)


def _incomplete(manifest: Mapping[str, Any]) -> Iterator[str]:
    spec = manifest.get("spec") or {}
    if "selector" in spec or "manualSelector" in spec:
        yield "spec.selector must be left out: Kubernetes sets it"
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    where = "spec.template.spec"
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield f"{where}.restartPolicy must be Never or OnFailure"
    elif pod["restartPolicy"] != "Never" and spec.get("podFailurePolicy"):
        yield f"{where}.restartPolicy must be Never where spec.podFailurePolicy is set"
    if not pod.get("containers"):
        yield f"{where}.containers must have a container"
    volumes = {volume.get("name") for volume in pod.get("volumes") or ()}
    for index, volume in enumerate(pod.get("volumes") or ()):
        secret = (volume.get("secret") or {}).get("secretName") or ""
        if secret and "$" not in secret and not _is_object_name(secret):
            path = f"{where}.volumes[{index}].secret.secretName"
            yield f"{path}: {secret!r} is no name of a Secret (placeholders end in _name)"
    names: set[str] = set()
    for field in ("containers", "initContainers"):
        for index, container in enumerate(pod.get(field) or ()):
            path = f"{where}.{field}[{index}]"
            yield from _incomplete_container(container, volumes, names, path)
    for owner, path in ((manifest, "metadata"), (template, "spec.template.metadata")):
        for name, value in ((owner.get("metadata") or {}).get("labels") or {}).items():
            if "$" not in value and not _LABEL_VALUE.fullmatch(value):
                yield f"{path}.labels.{name}: {value!r} is no label value"


def _is_object_name(text: str) -> bool:
    return len(text) <= _LONGEST_NAME and _OBJECT_NAME.fullmatch(text) is not None


def _incomplete_container(
    container: Mapping[str, Any], volumes: set[str], names: set[str], path: str
) -> Iterator[str]:
    name = container.get("name") or ""
    if not _DNS_LABEL.fullmatch(name):
        yield f"{path}.name must be a lower-case DNS label, not {name!r}"
    if name in names:
        yield f"{path}.name: there is another container {name!r}"
    names.add(name)
    if not container.get("image"):
        yield f"{path}.image is missing"
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield f"{path}.volumeMounts[{index}].name: there is no volume {mount.get('name')!r}"
        if not mount.get("mountPath"):
            yield f"{path}.volumeMounts[{index}].mountPath is missing"
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield f"{path}.env[{index}].name is missing"
