"""Reading a Job's log when streams end for reasons of their own."""

from __future__ import annotations

from lambda_builder.kube.labels import EVENT_HASH_LABEL
from lambda_builder.kube.logs import JobLog

HASH = "ab" * 32


class Stream:
    """A log stream that gives what it was made with, and ends."""

    def __init__(self, *chunks):
        self._chunks = chunks

    def chunks(self):
        return iter(self._chunks)

    def close(self):
        pass


class Cluster:
    """One Job with one pod, whose container runs until its log was read ``until`` times."""

    def __init__(self, *logs, until):
        self._logs, self._until = list(logs), until
        self.opened = 0

    def get_job(self, name):
        conditions = [{"type": "Complete", "status": "True"}] if self._has_ended() else []
        metadata = {"name": name, "labels": {EVENT_HASH_LABEL: HASH[:32]}}
        return {"metadata": metadata, "status": {"conditions": conditions}}

    def pods_of(self, name):
        state = {"terminated": {"exitCode": 0}} if self._has_ended() else {"running": {}}
        status = {"name": "build", "restartCount": 0, "state": state}
        return [
            {
                "metadata": {"name": f"{name}-abcde", "uid": "pod-1"},
                "spec": {"containers": [{"name": "build"}]},
                "status": {"containerStatuses": [status]},
            }
        ]

    def stream_log(self, pod, container, *, follow):
        self.opened += 1
        return Stream(*self._logs[min(self.opened, len(self._logs)) - 1])

    def _has_ended(self):
        return self.opened >= self._until


def follow(cluster):
    log = JobLog(cluster, cluster, "build-x", HASH, wait_seconds=5)
    return b"".join(log.follow(lambda: False))


def test_a_stream_that_ends_before_its_container_is_read_on():
    cluster = Cluster([b"one\ntw"], [b"one\n", b"two\nthr"], [b"one\ntwo\nthree\n"], until=2)
    assert follow(cluster) == b"one\ntwo\nthree\n"
    assert cluster.opened == 3


def test_a_container_that_has_ended_is_read_once():
    cluster = Cluster([b"one\n"], until=0)
    assert follow(cluster) == b"one\n"
    assert cluster.opened == 1
