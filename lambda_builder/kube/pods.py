"""What a Job's pods say of themselves: status, logs, events. Dicts, as the API has them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

from lambda_builder.kube.client import KubeClient, Query
from lambda_builder.kube.streams import ByteStream

LOG_SILENCE_SECONDS = 3600.0
"""Longest silence of a log that is followed, in seconds."""

_PAGE = 500
_MOST_PAGES = 20
"""Of a list that is only looked through; more pods that wait say the same."""
_MOST_LOG_BYTES = 65_536

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

_STEPS = ("fetch", "build", "push")
"""What our templates call the containers that do a build's work."""

Pod = dict[str, Any]
Event = dict[str, Any]


class PodReader:
    """Pods, logs and events in ``namespace``. Thread-safe; raises as ``KubeClient.request``."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = f"/api/v1/namespaces/{namespace}"

    def pods_of(self, *job_names: str) -> list[Pod]:
        """Return these Jobs' pods, oldest first; a few dozen names, for the URL has them all."""
        query = {"labelSelector": f"job-name in ({','.join(job_names)})"}
        answer = self._client.request("list_pods", "GET", f"{self._namespace}/pods", query=query)
        pods: list[Pod] = answer.get("items") or []
        return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def pending_pods(self) -> Iterator[Pod]:
        """Yield the pods of Jobs, anybody's, that have not begun to run."""
        query = {"labelSelector": "job-name", "fieldSelector": "status.phase=Pending"}
        return self._items("list_pods", f"{self._namespace}/pods", query)

    def job_warnings(self, reason: str) -> Iterator[Event]:
        """Yield the warnings of that reason about Jobs, anybody's."""
        selector = f"type=Warning,reason={reason},involvedObject.kind=Job"
        query = {"fieldSelector": selector}
        return self._items("list_events", f"{self._namespace}/events", query)

    def _items(self, operation: str, path: str, query: Query) -> Iterator[Any]:
        pages = self._client.pages(operation, path, {**query, "limit": _PAGE})
        for page in islice(pages, _MOST_PAGES):
            yield from page.get("items") or ()

    def read_log(self, pod: str, container: str, *, tail_lines: int) -> str:
        """Return the last lines of a container's log; ``Permanent`` while it has not started.

        Of long lines as much as 64 KiB hold, from the first on.
        """
        query: Query = {
            "container": container,
            "tailLines": tail_lines,
            "limitBytes": _MOST_LOG_BYTES,
        }
        data = self._client.read("read_log", self._log_path(pod), query=query)
        return data.decode("utf-8", "replace")

    def stream_log(self, pod: str, container: str, *, follow: bool) -> ByteStream:
        """Return a container's log from its beginning, and what comes as long as it runs."""
        return self._client.stream(
            "stream_log",
            self._log_path(pod),
            {"container": container, "follow": follow},
            read_timeout=LOG_SILENCE_SECONDS,
        )

    def _log_path(self, pod: str) -> str:
        return f"{self._namespace}/pods/{quote(pod, safe='')}/log"


def log_containers(pod: Pod) -> list[str]:
    """Return the containers whose logs make up a build's, in the order in which they run.

    The init containers that fetch and build, then the one the template says, else that of a known
    name, else the first. A sidecar that somebody injected is none of them.
    """
    spec = pod["spec"]
    initial = [str(each["name"]) for each in spec.get("initContainers") or ()]
    main = [str(each["name"]) for each in spec["containers"]]
    named = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    known = (name for name in main if name in _STEPS)
    return [name for name in initial if name in _STEPS] + [named or next(known, main[0])]
