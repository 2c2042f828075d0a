"""Pod Security Standards over pod specs, as Kubernetes 1.30's admission reads them.

Written after https://kubernetes.io/docs/concepts/security/pod-security-standards/; ``violations``
names what would be refused. Windows, ephemeral containers and sysctls are left out: the chart and
the service make none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

Spec = dict[str, Any]
_BASELINE_CAPABILITIES = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
_RESTRICTED_VOLUMES = frozenset(
    {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
        *("persistentVolumeClaim", "projected", "secret"),
    }
)


def violations(pod: Spec, level: Literal["baseline", "restricted"]) -> list[str]:
    """Return what of ``pod`` (a pod spec) the level forbids; empty is allowed."""
    found = list(_baseline(pod))
    if level == "restricted":
        found += _restricted(pod)
    return found


def _containers(pod: Spec) -> Iterator[tuple[str, Spec, Spec]]:
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        yield container.get("name", "?"), container, container.get("securityContext") or {}


def _baseline(pod: Spec) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes") or ():
        if "hostPath" in volume:
            yield f"hostPath volume {volume['name']}"
    yield from _profiles("pod", pod.get("securityContext") or {})
    for name, container, security in _containers(pod):
        yield from _profiles(name, security)
        if security.get("privileged"):
            yield f"{name}: privileged"
        if security.get("procMount", "Default") != "Default":
            yield f"{name}: procMount"
        added = set((security.get("capabilities") or {}).get("add") or ())
        if added - _BASELINE_CAPABILITIES:
            yield f"{name}: adds {sorted(added - _BASELINE_CAPABILITIES)}"
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield f"{name}: hostPort"


def _profiles(name: str, security: Spec) -> Iterator[str]:
    for profile in ("seccompProfile", "appArmorProfile"):
        if (security.get(profile) or {}).get("type") == "Unconfined":
            yield f"{name}: {profile} Unconfined"
    for option in ("user", "role"):
        if (security.get("seLinuxOptions") or {}).get(option):
            yield f"{name}: SELinux {option}"


def _restricted(pod: Spec) -> Iterator[str]:
    of_pod = pod.get("securityContext") or {}
    for volume in pod.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if not kinds or kinds - _RESTRICTED_VOLUMES:
            yield f"volume {volume['name']} of type {sorted(kinds)}"
    for name, _, security in _containers(pod):
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if not security.get("runAsNonRoot", of_pod.get("runAsNonRoot")):
            yield f"{name}: runAsNonRoot"
        if security.get("runAsUser", of_pod.get("runAsUser", 1)) == 0:
            yield f"{name}: runs as root"
        profile = security.get("seccompProfile", of_pod.get("seccompProfile")) or {}
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccompProfile"
        capabilities = security.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            yield f"{name}: does not drop ALL"
        if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
            yield f"{name}: adds capabilities"
