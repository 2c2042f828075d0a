"""What the service itself sets in a Job's manifest, over what stands in the template. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lambda_builder.errors import BootError
from lambda_builder.kube import labels
from lambda_builder.manifest.placeholders import PlaceholderError, Text, plain
from lambda_builder.manifest.tree import plain_tree
from lambda_builder.settings import PREFIX, Settings

SECRET_VOLUMES = {
    "REGISTRY_SECRET": "registry-credentials",
    "PULL_SECRET": "pull-credentials",
    "CACHE_SECRET": "cache-credentials",
}
"""The volume that each Secret goes into; without the setting it is left out with its mounts."""

_LABELS = {
    labels.NAME_LABEL: labels.APP,
    labels.MANAGED_BY_LABEL: labels.APP,
    labels.THIRD_PARTY_ID: "${third_party_id_safe}",
    labels.PARSER_ID: "${parser_id_safe}",
    labels.EVENT_HASH_LABEL: "${event_hash_label}",
    labels.CORRELATION_HASH_LABEL: "${correlation_hash}",
}
_ANNOTATIONS = {name: f"${{{field}}}" for field, name in labels.ANNOTATIONS.items()}
_ROOTLESS_BUILDKIT = re.compile(r"buildkit.*rootless")

_Mapping = dict[str, Any]


def setting_text(name: str, source: str, known: frozenset[str]) -> Text:
    """Return a setting with placeholders, read; raises ``BootError`` that names the setting."""
    try:
        return Text(source, known)
    except PlaceholderError as error:
        raise BootError(f"{PREFIX}{name}: {error}") from error


def composed(manifest: _Mapping, settings: Settings, known: frozenset[str]) -> _Mapping:
    """Return the template with all that the service itself sets, over what stands there.

    ``known`` are the placeholders that a Secret's name may have. Raises ``BootError`` for settings
    that the template has no place for.
    """
    made: _Mapping = plain_tree(manifest)
    metadata = _mapping(made, "metadata")
    metadata.pop("generateName", None)
    metadata["name"] = "${job_name}"
    metadata["namespace"] = "${namespace}"
    _mapping(metadata, "labels").update(_LABELS)
    _mapping(metadata, "annotations").update(_ANNOTATIONS)
    template = made["spec"]["template"]
    _mapping(_mapping(template, "metadata"), "labels").update(_LABELS)
    if settings.kueue_queue:
        metadata["labels"][labels.KUEUE_QUEUE_LABEL] = plain(settings.kueue_queue)
        made["spec"]["suspend"] = True
    _set_in_pod(template["spec"], settings, known)
    return made


def _set_in_pod(pod: _Mapping, settings: Settings, known: frozenset[str]) -> None:
    if settings.service_account:
        pod["serviceAccountName"] = plain(settings.service_account)
    if settings.runtime_class:
        pod["runtimeClassName"] = plain(settings.runtime_class)
    if settings.user_namespaces:
        _refuse_rootless_buildkit(pod)
        pod["hostUsers"] = False
    for name, volume in SECRET_VOLUMES.items():
        secret = getattr(settings, name.lower())
        setting_text(name, secret, known)
        if secret:
            _fill_volume(pod, name, volume, secret)
        else:
            _leave_out_volume(pod, volume)


def _mapping(owner: _Mapping, name: str) -> _Mapping:
    """Return the mapping of that name, made where it is missing or null."""
    if owner.get(name) is None:
        owner[name] = {}
    mapping: _Mapping = owner[name]
    return mapping


def _fill_volume(pod: _Mapping, setting: str, name: str, secret: str) -> None:
    ours = [volume for volume in pod.get("volumes") or () if volume.get("name") == name]
    if not ours:
        raise BootError(
            f"{PREFIX}{setting} is set, but the template has no volume named {name} to put it "
            "into: add that, or unset the setting"
        )
    source = ours[0].get("secret") or {}
    ours[0].clear()
    ours[0].update(name=name, secret={**source, "secretName": secret})


def _leave_out_volume(pod: _Mapping, name: str) -> None:
    for owner, field in ((pod, "volumes"), *((each, "volumeMounts") for each in _containers(pod))):
        if owner.get(field):
            owner[field] = [item for item in owner[field] if item.get("name") != name]


def _refuse_rootless_buildkit(pod: _Mapping) -> None:
    # It makes a user namespace itself, which needs more ids than a pod's own namespace maps.
    if any(_ROOTLESS_BUILDKIT.search(str(each.get("image"))) for each in _containers(pod)):
        raise BootError(
            f"{PREFIX}USER_NAMESPACES does not go with rootless BuildKit, which makes a user "
            "namespace of its own: unset it, or take another template"
        )


def _containers(pod: _Mapping) -> Iterator[_Mapping]:
    yield from pod.get("initContainers") or ()
    yield from pod.get("containers") or ()
