"""What builds need of the Kubernetes API, in memory: Jobs and a Lease, and what goes wrong.

Stands where ``KubeClient`` does, so that all above it is the service's own. Each request can be
interrupted before and after it takes effect, and may fail in both places.
"""

from __future__ import annotations

import copy
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from lambda_builder.builds import rfc3339
from lambda_builder.errors import FailureReason, Transient, Unreachable
from lambda_builder.kube.errors import Conflict, NotFound
from lambda_builder.kube.reflector import EventType

Json = dict[str, Any]
Trouble = Literal["lost_request", "lost_answer", "busy"]


class Api:
    """The server's side: objects by path, and all that happened to Jobs, in order."""

    def __init__(self, *, wall: Callable[[], float] = time.time) -> None:
        self.objects: dict[str, Json] = {}
        self.history: list[tuple[EventType, Json]] = []
        self.created: Counter[str] = Counter()
        """How many Jobs were made, by name."""
        self._versions = itertools.count(1)
        self._wall = wall

    @property
    def jobs(self) -> dict[str, Json]:
        """The Jobs there are, by name."""
        return {
            job["metadata"]["name"]: job for path, job in self.objects.items() if "/jobs/" in path
        }

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """Make an object; raises ``Conflict`` where the name is taken."""
        where = f"{path}/{body['metadata']['name']}"
        if where in self.objects:
            raise Conflict(FailureReason.API_ERROR, "AlreadyExists: it already exists")
        version = next(self._versions)
        made = copy.deepcopy(dict(body))
        made["metadata"].update(
            uid=f"uid-{version}", creationTimestamp=rfc3339(self._wall()), resourceVersion=version
        )
        self.objects[where] = made
        if "/jobs" in path:
            self.created[made["metadata"]["name"]] += 1
        self._note("ADDED", where, made)
        return copy.deepcopy(made)

    def replace(self, where: str, body: Mapping[str, Any]) -> Json:
        """Write an object; raises ``Conflict`` where it has changed since it was read."""
        known = self._known(where)
        if body["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
            raise Conflict(FailureReason.API_ERROR, "the object has been modified")
        return self._changed(where, copy.deepcopy(dict(body)))

    def delete(self, where: str, options: Mapping[str, Any]) -> Json:
        """Remove an object; raises ``Conflict`` where another is meant."""
        known = self._known(where)
        uid = (options.get("preconditions") or {}).get("uid")
        if uid not in (None, known["metadata"]["uid"]):
            raise Conflict(FailureReason.API_ERROR, "the UID in the precondition differs")
        del self.objects[where]
        self._note("DELETED", where, known)
        return known

    def read(self, where: str) -> Json:
        """Return an object; raises ``NotFound``."""
        return copy.deepcopy(self._known(where))

    def set_status(self, name: str, status: Json) -> None:
        """Be the controller of a Job; one that is gone meanwhile has no status."""
        for where, job in [*self.objects.items()]:
            if where.endswith(f"/jobs/{name}") and where in self.objects:
                self._changed(where, {**copy.deepcopy(job), "status": status})

    def _known(self, where: str) -> Json:
        if where not in self.objects:
            raise NotFound(FailureReason.API_ERROR, "not found")
        return self.objects[where]

    def _changed(self, where: str, body: Json) -> Json:
        body["metadata"]["resourceVersion"] = next(self._versions)
        self.objects[where] = body
        self._note("MODIFIED", where, body)
        return copy.deepcopy(body)

    def _note(self, kind: EventType, where: str, body: Json) -> None:
        if "/jobs/" in where:
            self.history.append((kind, copy.deepcopy(body)))


class Client:
    """One replica's way to the API, in place of ``KubeClient``.

    ``turn`` is called where a request can be interrupted; ``trouble`` says what goes wrong with the
    next one.
    """

    host = "memory"

    def __init__(
        self,
        api: Api,
        *,
        turn: Callable[[], object] = lambda: None,
        trouble: Callable[[str], Trouble | None] = lambda _method: None,
    ) -> None:
        self._api = api
        self._turn = turn
        self._trouble = trouble

    def request(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> Json:
        """See ``KubeClient.request``."""
        del content_type, timeout
        trouble = self._trouble(method)
        self._turn()
        if trouble == "busy":
            raise Transient(FailureReason.SERVER_ERROR, f"{operation}: HTTP 503")
        if trouble == "lost_request":
            raise Unreachable(FailureReason.TIMEOUT, f"{operation}: timed out")
        answer = self._answer(method, path, query or {}, body or {})
        self._turn()
        if trouble == "lost_answer":
            raise Unreachable(FailureReason.TIMEOUT, f"{operation}: timed out")
        return answer

    def _answer(
        self, method: str, path: str, query: Mapping[str, Any], body: Mapping[str, Any]
    ) -> Json:
        if method == "POST":
            return self._api.create(path, body)
        if method == "PUT":
            return self._api.replace(path, body)
        if method == "DELETE":
            return self._api.delete(path, body)
        if path.endswith("/jobs"):
            return {"items": [*self._selected(str(query.get("labelSelector", "")))]}
        if path.endswith(("/pods", "/events")):
            return {"items": []}
        return self._api.read(path)

    def _selected(self, selector: str) -> Iterator[Json]:
        wanted = dict(term.split("=", 1) for term in selector.split(",") if "=" in term)
        for job in self._api.jobs.values():
            if wanted.items() <= job["metadata"]["labels"].items():
                yield copy.deepcopy(job)

    def pages(self, operation: str, path: str, query: Mapping[str, Any]) -> Iterator[Json]:
        """See ``KubeClient.pages``."""
        yield self.request(operation, "GET", path, query=query)

    def probe(self) -> bool:
        """See ``KubeClient.probe``."""
        self._turn()
        return True


def troubles(rng: random.Random, share: float) -> Callable[[str], Trouble | None]:
    """Let ``share`` of the requests go wrong, in any of the ways."""

    def trouble(_method: str) -> Trouble | None:
        kinds: tuple[Trouble, ...] = ("lost_request", "lost_answer", "busy")
        return rng.choice(kinds) if rng.random() < share else None

    return trouble


RUNNING: Json = {"active": 1, "ready": 1}
"""The status of a Job whose pod runs."""


def ended(kind: Literal["Complete", "Failed"], moment: float) -> Json:
    """Return the status of a Job that has ended."""
    return {
        "startTime": rfc3339(moment),
        "completionTime": rfc3339(moment),
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": rfc3339(moment)},
        ],
    }
