"""Faults on demand: which request or Job is hit, and by what.

Runs on the server's own thread; others add and clear faults through ``DevCluster``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lambda_builder.devcluster.objects import Json

REQUEST_KINDS = frozenset({"latency", "hang", "status", "cut", "cut_after", "hang_after"})
WATCH_KINDS = frozenset({"expire_watch"})
LIST_KINDS = frozenset({"expire_list"})
ADMISSION_KINDS = frozenset({"deny", "webhook_error"})
EVICTION_KINDS = frozenset({"refuse_eviction"})
JOB_KINDS = frozenset(
    {"refuse_pods", "image_pull", "fail", "evict", "slow_pods", "slow_runs", "stuck_pods"}
)
_KINDS = REQUEST_KINDS | WATCH_KINDS | LIST_KINDS | ADMISSION_KINDS | EVICTION_KINDS | JOB_KINDS


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, for the requests, objects or Jobs it matches.

    Kinds that strike requests: ``latency``, ``hang``, ``status``, ``cut``, and ``hang_after`` and
    ``cut_after`` once the work is done; ``expire_watch`` (open watches too) and ``expire_list``
    (from the second page on); ``deny`` and ``webhook_error``, which stand for admission webhooks,
    also of the pods that a Job makes; ``refuse_eviction``, a disruption budget. Kinds that strike
    Jobs: ``refuse_pods``, ``slow_pods``, ``slow_runs``, ``image_pull``, ``fail``, ``stuck_pods``,
    and ``evict``, the kubelet's eviction of a pod that runs.

    ``verb`` and ``resource`` are in Kubernetes terms (``create``, ``jobs``); ``name_prefix`` is of
    the object's name, for those that strike Jobs of the Job's. ``times`` bounds how many are hit
    (None: all), each with ``probability``. ``seconds`` is for ``latency``, ``slow_pods`` and
    ``slow_runs``; ``status`` the HTTP status or, for ``fail``, the exit code (``exit_code`` wins);
    ``message`` for ``fail`` is what the build writes last, ``reason`` why its container ended, for
    ``evict`` that of a disruption (without one the pod broke a limit of its own), ``container`` the
    init container that fails (without one those that run at the end); ``retry_after`` whole
    seconds; ``webhook`` the name of the one that refuses. Safe to share: it never changes.
    """

    kind: str
    verb: str | None = None
    resource: str | None = None
    name_prefix: str | None = None
    times: int | None = None
    probability: float = 1.0
    seconds: float | None = None
    status: int | None = None
    message: str | None = None
    retry_after: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    container: str | None = None
    webhook: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            known = ", ".join(sorted(_KINDS))
            raise ValueError(f"unknown fault kind {self.kind!r}; known: {known}")

    @classmethod
    def from_json(cls, value: Any) -> Fault:
        """Read one from its JSON fields; ValueError says what is wrong."""
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise ValueError("a fault is an object with a kind")
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown fault fields: {', '.join(sorted(unknown))}")
        for name in ("times", "probability", "seconds", "status", "retry_after", "exit_code"):
            if not isinstance(value.get(name, 0), int | float | None):
                raise ValueError(f"{name} must be a number")
        return cls(**value)


class ActiveFault:
    """A fault that was added, with what is left of its ``times``."""

    __slots__ = ("cleared", "fault", "left")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.left = fault.times
        self.cleared = False

    def hits(self, name: str | None) -> bool:
        """Whether this one strikes now; if it does, one of its times is used up."""
        fault = self.fault
        if self.left == 0:
            return False
        if fault.name_prefix is not None and not (name or "").startswith(fault.name_prefix):
            return False
        if fault.probability < 1.0 and random.random() >= fault.probability:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Faults:
    """All faults that are in force, in the order they were added."""

    def __init__(self) -> None:
        self._active: list[ActiveFault] = []

    def __bool__(self) -> bool:
        return bool(self._active)

    def add(self, fault: Fault) -> None:
        """Put a fault in force, after those there are."""
        self._active.append(ActiveFault(fault))

    def clear(self) -> None:
        """Take all faults back."""
        for active in self._active:
            active.cleared = True
        self._active.clear()

    def describe(self) -> list[Json]:
        """The faults with what is left of their times."""
        return [asdict(replace(active.fault, times=active.left)) for active in self._active]

    def for_request(self, verb: str, resource: str, name: str | None) -> Iterator[Fault]:
        """The faults that strike a request, in order."""
        return self._striking(REQUEST_KINDS, verb, resource, name)

    def for_admission(self, verb: str, resource: str, name: str) -> Iterator[Fault]:
        """The webhooks that refuse an object, in order."""
        return self._striking(ADMISSION_KINDS, verb, resource, name)

    def for_watch(self, resource: str) -> Fault | None:
        """The fault that ends a watch of ``resource``, if any."""
        return next(self._striking(WATCH_KINDS, "watch", resource, None), None)

    def for_list(self, resource: str) -> Fault | None:
        """The fault that expires the next page of a list of ``resource``, if any."""
        return next(self._striking(LIST_KINDS, "list", resource, None), None)

    def for_eviction(self, pod: str) -> Fault | None:
        """The disruption budget that keeps a pod, if any."""
        return next(self._striking(EVICTION_KINDS, "create", "pods/eviction", pod), None)

    def _striking(
        self, kinds: frozenset[str], verb: str, resource: str, name: str | None
    ) -> Iterator[Fault]:
        for active in tuple(self._active):
            fault = active.fault
            wanted = fault.verb in (None, verb) and fault.resource in (None, resource)
            if fault.kind in kinds and wanted and active.hits(name):
                yield fault

    def for_job(self, kind: str, job: str, container: str | None = None) -> ActiveFault | None:
        """The kubelet fault of ``kind`` that strikes a Job; it holds until it is cleared.

        With ``container`` the one that strikes that init container of it.
        """
        for active in self._active:
            fault = active.fault
            if fault.kind == kind and fault.container == container and active.hits(job):
                return active
        return None
