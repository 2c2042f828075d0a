"""JobLog: the log of a Job's containers, one after another, over all its pods, as it is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator

from lambda_builder.errors import FailureReason, Permanent, Transient
from lambda_builder.kube.errors import NotFound
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.pods import Pod, PodReader, log_containers
from lambda_builder.kube.status import Job, event_hash_of, is_finished
from lambda_builder.kube.streams import ByteStream, OpenStream

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0

_Container = tuple[str, str, int]
"""A pod's uid, the name of one of its containers, and how often that was restarted."""


class NoLog(Exception):
    """There is no log; the message says why."""


class JobLog:
    """One reading of one log. One thread iterates; ``close`` may come from any other."""

    def __init__(
        self,
        jobs: JobManager,
        pods: PodReader,
        job_name: str,
        event_hash: str,
        *,
        wait_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._pods = pods
        self._name = job_name
        self._event_hash = event_hash
        self._wait_seconds = wait_seconds
        self._closed = threading.Event()
        self._stream = OpenStream()
        self._shown: dict[_Container, int] = {}
        """Bytes shown of each container's log."""
        self._complete: set[_Container] = set()

    def close(self) -> None:
        """End the reading, also where it waits; harmless twice."""
        self._closed.set()
        self._stream.close()

    def job(self) -> Job | None:
        """Return the Job if it is there, and this event's; raises as ``KubeClient.request``."""
        job = self._jobs.get_job(self._name)
        if job is None or event_hash_of(job) != self._event_hash[:32]:
            return None
        return job

    # -- what there is -------------------------------------------------------------------------

    def whole(self) -> Generator[bytes]:
        """Return the newest pod's log up to now.

        Raises ``NoLog``, and as ``KubeClient.request``, before the first chunk is asked for.
        """
        if self.job() is None:
            raise NoLog(f"Job {self._name} does not exist")
        pods = self._pods.pods_of(self._name)
        if not pods:
            raise NoLog(f"Job {self._name} has no pod")
        pod, containers = pods[-1], log_containers(pods[-1])
        try:
            stream = self._open(pod, containers[0], follow=False)
        except NotFound as error:
            raise NoLog(str(error)) from error
        if stream is None:
            raise NoLog(f"Job {self._name} has not begun to run")
        self._stream.adopt(stream)
        return self._chunks(pod, stream, containers[1:])

    def _chunks(self, pod: Pod, first: ByteStream, others: list[str]) -> Generator[bytes]:
        with self._stream.reading(first):
            yield from first.chunks()
        for container in others:
            try:
                stream = self._open(pod, container, follow=False)
            except NotFound:
                return
            if stream is None:
                return
            with self._stream.reading(stream):
                yield from stream.chunks()

    # -- and what comes ------------------------------------------------------------------------

    def follow(self, may_come: Callable[[], bool]) -> Generator[bytes]:
        """Yield the log until the Job ends; waits for the Job while it ``may_come``, and its pods.

        Ends also when nothing came for ``wait_seconds`` while no container ran. Raises
        ``Permanent`` where the API refuses to show the log.
        """
        give_up_at, delay = time.monotonic() + self._wait_seconds, _FIRST_LOOK_SECONDS
        while not self._closed.is_set():
            came = False
            try:
                expected = may_come()
                job = self.job()
                for chunk in self._new_chunks() if job else ():
                    came = True
                    yield chunk
                if is_finished(job) if job else not expected:
                    return
            except Transient:
                pass  # cut, or the API is away: it goes on where it was
            if came:
                give_up_at, delay = time.monotonic() + self._wait_seconds, _FIRST_LOOK_SECONDS
            elif time.monotonic() > give_up_at:
                return
            self._closed.wait(delay)
            delay = min(2 * delay, _LONGEST_LOOK_SECONDS)

    def _new_chunks(self) -> Iterator[bytes]:
        for pod in self._pods.pods_of(self._name):
            for container in log_containers(pod):
                restarts, ended = _how_it_is(pod, container)
                key = str(pod["metadata"]["uid"]), container, restarts
                if key in self._complete:
                    continue
                try:
                    stream = self._open(pod, container, follow=True)
                except NotFound:
                    break
                if stream is None:
                    break
                yield from self._rest(stream, key)
                if not ended:
                    # A stream may also end because its connection did; only what ended before is
                    # over, and only then the next container can have begun.
                    break
                self._complete.add(key)

    def _rest(self, stream: ByteStream, key: _Container) -> Iterator[bytes]:
        """Yield what is new: a log that was cut is read again from its beginning."""
        position = 0
        with self._stream.reading(stream):
            for chunk in stream.chunks():
                fresh = chunk[max(0, self._shown.get(key, 0) - position) :]
                position += len(chunk)
                if fresh:
                    self._shown[key] = position
                    yield fresh

    def _open(self, pod: Pod, container: str, *, follow: bool) -> ByteStream | None:
        """Open a container's log; None while it has not started."""
        try:
            return self._pods.stream_log(pod["metadata"]["name"], container, follow=follow)
        except Permanent as error:
            if error.reason is FailureReason.BAD_REQUEST:
                return None
            raise


def _how_it_is(pod: Pod, container: str) -> tuple[int, bool]:
    """Return how often a container was restarted, and whether it has ended."""
    known = pod.get("status") or {}
    for field in ("initContainerStatuses", "containerStatuses"):
        for status in known.get(field) or ():
            if status.get("name") == container:
                ended = "terminated" in (status.get("state") or {})
                return int(status.get("restartCount") or 0), ended
    return 0, False
