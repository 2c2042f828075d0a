"""Why a Job does not run, and why it failed: what its pods and the Job controller say.

A Job whose pods are refused, or whose image cannot be pulled, looks like any that has just been
created; only events and the pods' own status tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lambda_builder.builds import BuildError
from lambda_builder.errors import AttemptFailed
from lambda_builder.kube.errors import shorten
from lambda_builder.kube.pods import Event, Pod, PodReader
from lambda_builder.kube.status import parse_time, reason_code

IMAGE_PULL_FAILED = "image_pull_failed"
"""Error code of the two reasons that a pod alternates between while its image cannot be pulled."""
UNSCHEDULABLE = "unschedulable"
"""Error code of a pod that no node has room for."""
_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff"})
_WAITING_REASONS = _PULL_REASONS | {
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
_REFUSED = "FailedCreate"
_LOG_LINES = 20
_LOG_BYTES = 4096
_MESSAGE = 1000
_POD_SUFFIX = re.compile(r"(?<=-)[a-z0-9]{5}\"")


class PodDiagnosis:
    """Reads pods and events for what is wrong with Jobs; thread-safe, raises as ``PodReader``."""

    def __init__(self, pods: PodReader) -> None:
        self._pods = pods

    def of_waiting(self, uids: Iterable[str]) -> dict[str, BuildError]:
        """Return, by uid, what keeps Jobs from running; one paged list of pods, one of events."""
        wanted, found, with_pod = set(uids), dict[str, BuildError](), set[str]()
        for pod in self._pods.pending_pods():
            uid = _owner(pod)
            if uid not in wanted:
                continue
            with_pod.add(uid)
            problem = problem_of(pod)
            if problem is not None:
                found[uid] = problem
        # What was refused before, and is there now, is no problem any more.
        found |= _refusals(self._pods.job_warnings(_REFUSED), wanted - with_pod)
        return found

    def of_failed(self, job_name: str) -> str | None:
        """Return how the failed container of a Job ended, with the last lines of its log.

        None when no pod of the Job says so, for they may be gone already.
        """
        for pod in reversed(self._pods.pods_of(job_name)):
            for status in _statuses(pod):
                ended = _failed_end(status)
                if ended is not None:
                    return self._failure(pod, status["name"], ended)
            reason = (pod.get("status") or {}).get("reason")
            if reason:
                message = pod["status"].get("message") or ""
                return shorten(f"pod {pod['metadata']['name']}: {reason}: {message}", _MESSAGE)
        return None

    def _failure(self, pod: Pod, container: str, ended: Mapping[str, Any]) -> str:
        reason, code = ended.get("reason") or "Error", ended.get("exitCode")
        text = f"container {container}: {reason}, exit code {code}"
        try:
            log = self._pods.read_log(pod["metadata"]["name"], container, tail_lines=_LOG_LINES)
        except AttemptFailed:
            log = str(ended.get("message") or "")
        log = _last_bytes(log.rstrip(), _LOG_BYTES)
        return f"{text}; last lines of its log:\n{log}" if log else text


def problem_of(pod: Pod) -> BuildError | None:
    """Return why a pending pod does not run, as far as that is no matter of seconds."""
    for status in _statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason in _WAITING_REASONS:
            code = IMAGE_PULL_FAILED if reason in _PULL_REASONS else reason_code(reason)
            message = waiting.get("message") or f"image {status.get('image')}"
            return BuildError(code, shorten(f"{reason}: {message}", _MESSAGE))
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("reason") == "Unschedulable" and condition.get("status") == "False":
            message = str(condition.get("message") or "no node")
            return BuildError(UNSCHEDULABLE, shorten(message, _MESSAGE))
    return None


def _refusals(events: Iterable[Event], wanted: set[str]) -> dict[str, BuildError]:
    newest: dict[str, tuple[float, Event]] = {}
    for event in events if wanted else ():
        uid, at = event["involvedObject"].get("uid"), _last_seen(event)
        if uid in wanted and (uid not in newest or at > newest[uid][0]):
            newest[uid] = at, event
    return {uid: _refusal(event) for uid, (_, event) in newest.items()}


def _refusal(event: Event) -> BuildError:
    # Each try has another random name for the pod, which makes no other problem of it.
    message = _POD_SUFFIX.sub('…"', event.get("message") or "")
    return BuildError(reason_code(_REFUSED), shorten(message, _MESSAGE))


def _last_seen(event: Event) -> float:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max(parse_time(value) or 0.0 for value in times)


def _owner(pod: Pod) -> str:
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["uid"])
    return ""


def _statuses(pod: Pod) -> list[dict[str, Any]]:
    status = pod.get("status") or {}
    return [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]


def _failed_end(status: Mapping[str, Any]) -> dict[str, Any] | None:
    for state in (status.get("state"), status.get("lastState")):
        ended: dict[str, Any] | None = (state or {}).get("terminated")
        if ended and ended.get("exitCode"):
            return ended
    return None


def _last_bytes(text: str, size: int) -> str:
    return text.encode("utf-8", "replace")[-size:].decode("utf-8", "ignore")
