"""Why a Job does not run, and why it failed: what its pods and the Job controller say.

A Job whose pods are refused, or whose image cannot be pulled, looks like any that has just been
created; only events and the pods' own status tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_builder.builds import BuildError, FailureCategory, parse_time
from lambda_builder.errors import AttemptFailed
from lambda_builder.kube.errors import shorten
from lambda_builder.kube.failures import category_of, category_of_end, last_word
from lambda_builder.kube.pods import Event, Pod, PodReader
from lambda_builder.kube.status import reason_code, told_digest

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
_MORE_LOG_LINES = 250
"""Kaniko writes all of its options after an error of its start."""
_LOG_BYTES = 4096
_MESSAGE = 1000
_POD_SUFFIX = re.compile(r"(?<=-)[a-z0-9]{5}\"")


_BUILD = "build"
_PUSHING = ("push", _BUILD)
"""Containers that may tell the digest of what they pushed: the first that a pod has.

Where there is one that pushes, the one that builds runs a tenant's steps, which could tell any.
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a Job's pod failed, in words and in one."""

    text: str
    category: FailureCategory


class PodDiagnosis:
    """Reads pods and events for what is wrong with Jobs; thread-safe, raises as ``PodReader``."""

    def __init__(self, pods: PodReader) -> None:
        self._pods = pods

    def of_waiting(self, uids: Iterable[str]) -> tuple[dict[str, BuildError], set[str]]:
        """Return, by uid, what keeps Jobs from running, and which of them build all the same.

        Those whose init container builds: their pods are not ready, and the Jobs do not show it.
        One paged list of pods, one of events.
        """
        wanted, found, with_pod = set(uids), dict[str, BuildError](), set[str]()
        building: set[str] = set()
        for pod in self._pods.pending_pods():
            uid = _owner(pod)
            if uid not in wanted:
                continue
            with_pod.add(uid)
            problem = problem_of(pod)
            if problem is not None:
                found[uid] = problem
            elif _builds(pod):
                building.add(uid)
        # What was refused before, and is there now, is no problem any more.
        found |= _refusals(self._pods.job_warnings(_REFUSED), wanted - with_pod)
        return found, building

    def of_failed(self, job_name: str) -> Failure | None:
        """Return how the failed container of a Job ended, with the last lines of its log.

        None when no pod of the Job says so, for they may be gone already.
        """
        for pod in reversed(self._pods.pods_of(job_name)):
            words, category = _disruption(pod)
            told = shorten(f"pod {pod['metadata']['name']}: {words}", _MESSAGE)
            for status in _statuses(pod):
                ended = _failed_end(status)
                if ended is not None:
                    failure = self._failure(pod, status["name"], ended)
                    text = f"{told}; {failure.text}" if words else failure.text
                    return Failure(text, category or failure.category)
            if words:
                return Failure(told, category or FailureCategory.UNKNOWN)
        return None

    def digest_of(self, job_name: str) -> str | None:
        """Return the digest of the image that a Job pushed, as its pod says it; None without one.

        It is the termination message of the container ``push``, else of ``build``.
        """
        return self.digests_of([job_name]).get(job_name)

    def digests_of(self, job_names: Sequence[str]) -> dict[str, str]:
        """Return the digests of those Jobs that have one, by name, as ``digest_of``; one list."""
        digests: dict[str, str] = {}
        for pod in self._pods.pods_of(*job_names):  # of several the last counts
            ends = {status["name"]: _message(status) for status in _statuses(pod)}
            told = (told_digest(ends[name]) for name in _PUSHING if name in ends)
            if digest := next(told, None):
                digests[pod["metadata"]["labels"]["job-name"]] = digest
        return digests

    def _failure(self, pod: Pod, container: str, ended: Mapping[str, Any]) -> Failure:
        reason, code = str(ended.get("reason") or "Error"), ended.get("exitCode")
        text = f"container {container}: {reason}, exit code {code}"
        told = str(ended.get("message") or "")
        log = self._last_lines(pod["metadata"]["name"], container) or told
        # Of very long lines the log has the first; the kubelet keeps the end.
        category = category_of_end(container, reason, int(code or 0), f"{log}\n{told}")
        log = _last_bytes(_up_to_last_word(log), _LOG_BYTES)
        return Failure(f"{text}; last lines of its log:\n{log}" if log else text, category)

    def _last_lines(self, pod: str, container: str) -> str:
        try:
            log = self._pods.read_log(pod, container, tail_lines=_LOG_LINES)
            if last_word(log) is None and log.count("\n") >= _LOG_LINES - 1:
                more = self._pods.read_log(pod, container, tail_lines=_MORE_LOG_LINES)
                log = more if last_word(more) is not None else log
        except AttemptFailed:
            return ""
        return log


def problem_of(pod: Pod) -> BuildError | None:
    """Return why a pending pod does not run, as far as that is no matter of seconds."""
    for status in _statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason in _WAITING_REASONS:
            code = IMAGE_PULL_FAILED if reason in _PULL_REASONS else reason_code(reason)
            message = waiting.get("message") or f"image {status.get('image')}"
            text = shorten(f"{reason}: {message}", _MESSAGE)
            return BuildError(code, text, category_of("waiting container", text))
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("reason") == "Unschedulable" and condition.get("status") == "False":
            message = str(condition.get("message") or "no node")
            return BuildError(UNSCHEDULABLE, shorten(message, _MESSAGE), FailureCategory.PLATFORM)
    return None


def _builds(pod: Pod) -> bool:
    """Whether the pod's init container ``build`` runs, or has run."""
    for status in (pod.get("status") or {}).get("initContainerStatuses") or ():
        if status["name"] == _BUILD:
            return not {"running", "terminated"}.isdisjoint(status.get("state") or {})
    return False


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
    category = category_of("refused pod", message)
    return BuildError(reason_code(_REFUSED), shorten(message, _MESSAGE), category)


def _disruption(pod: Pod) -> tuple[str, FailureCategory | None]:
    """Return what else than its containers ended a pod, in words, and what that means."""
    status = pod.get("status") or {}
    reasons = [(status.get("reason"), status.get("message"))]
    reasons += [
        (condition.get("reason"), condition.get("message"))
        for condition in status.get("conditions") or ()
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"
    ]
    texts = [f"{reason}: {message or ''}" for reason, message in reasons if reason]
    meant = [category_of("pod", text) for text in texts]
    return (texts or [""])[0], next((category for category in meant if category), None)


def _message(status: Mapping[str, Any]) -> Any:
    ended = (status.get("state") or {}).get("terminated") or {}
    return ended.get("message")


def _up_to_last_word(log: str) -> str:
    """Return a log's last lines, or those up to its builder's last word if that is earlier."""
    lines, word = log.rstrip().splitlines(), last_word(log)
    end = len(lines)
    if word is not None and word < end - _LOG_LINES:
        end = word + 1
    return "\n".join(lines[max(0, end - _LOG_LINES) : end])


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
