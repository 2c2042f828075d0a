"""Replicas with a journal in one database, and senders that know all of them."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import requests

from tests.postgres_server import PostgresServer
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

LEASE_SECONDS = 5
BACK_SECONDS = 5
"""Within which everything is at work again once what was away is back."""


def replica(cluster: ClusterProcess, folder: Path, url: str, **settings: object) -> ServiceProcess:
    """Return a replica on the database at ``url``; it is not started yet."""
    return ServiceProcess(
        cluster.kubeconfig,
        folder,
        **{
            "journal_url": url,
            "lease_seconds": LEASE_SECONDS,
            "kube_api_timeout_seconds": 1,
            "max_retries": 50,
            "retry_max_seconds": 1,
            "worker_count": 2,
            "worker_count_max": 2,
            "queue_size": 500,
            **settings,
        },
    )


@contextmanager
def running_replicas(
    count: int, cluster: ClusterProcess, folder: Path, url: str, **settings: object
) -> Iterator[list[ServiceProcess]]:
    """Start so many replicas; they are killed at the end."""
    replicas = [replica(cluster, folder, url, **settings) for _ in range(count)]
    with ExitStack() as stack:
        for each in replicas:
            stack.callback(each.kill)
            each.start(ready=False)
        for each in replicas:
            wait_until(each.is_ready, each.log_tail, 60)
        yield replicas


class Sender(threading.Thread):
    """Sends numbered events, a lost or refused one again, to the next replica."""

    def __init__(self, replicas: Sequence[ServiceProcess], first: int, pause: float) -> None:
        super().__init__(daemon=True)
        self._replicas = itertools.cycle(replicas)
        self._numbers = itertools.count(first)
        self._pause = pause
        self._stopping = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        number = next(self._numbers)
        with requests.Session() as session:
            while not self._stopping.wait(self._pause):
                try:
                    answer = next(self._replicas).post(number, session=session, timeout=2)
                except requests.RequestException:
                    continue  # nobody knows whether it was accepted: it must be sent again
                if answer.status_code == 200:
                    self.accepted.append(str(number))
                    number = next(self._numbers)

    def stop(self) -> None:
        self._stopping.set()
        self.join(15)


class Load:
    """Senders that send until the ``with`` block ends."""

    def __init__(
        self, replicas: Sequence[ServiceProcess], *, senders: int = 4, pause: float = 0.01
    ) -> None:
        self._senders = [
            Sender(_from(replicas, number), number * 1_000_000, pause) for number in range(senders)
        ]

    def __enter__(self) -> Load:
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sender in self._senders:
            sender.stop()

    @property
    def accepted(self) -> set[str]:
        """The events that were answered as accepted, by id."""
        return {number for sender in self._senders for number in [*sender.accepted]}


def _from(replicas: Sequence[ServiceProcess], number: int) -> list[ServiceProcess]:
    first = number % len(replicas)
    return [*replicas[first:], *replicas[:first]]


def check_built(
    cluster: ClusterProcess,
    accepted: set[str],
    *,
    within: float,
    but: AbstractSet[str] = frozenset(),
) -> None:
    """Check that each event has one Job within so many seconds; ``but`` are not to have any."""
    wait_until(lambda: accepted - but <= set(cluster.jobs_per_event()), "every build's Job", within)
    jobs = cluster.jobs_per_event()
    assert {number: count for number, count in jobs.items() if count > 1} == {}
    assert not but & set(jobs)


def wait_until_idle(replicas: Sequence[ServiceProcess], timeout: float = 30) -> None:
    """Wait until nothing waits at any of them; their counts add up meanwhile."""

    def idle(each: ServiceProcess) -> bool:
        stats = each.stats()
        return bool(stats["queue_size"] == stats["busy_workers"] == 0)

    wait_until(lambda: all(idle(each) for each in replicas), "the replicas to be done", timeout)


class Trouble:
    """Faults of all kinds, one after the other, as a seed has it."""

    def __init__(
        self,
        seed: int,
        cluster: ClusterProcess,
        replicas: Sequence[ServiceProcess],
        server: PostgresServer,
        database: str,
    ) -> None:
        self._rng = random.Random(seed)
        self._cluster = cluster
        self._replicas = replicas
        self._server = server
        self._database = database
        self.done: list[str] = []

    def make(self) -> None:
        """Make the next fault, and let it pass."""
        fault = self._rng.choice(
            [
                self._kill,
                self._pause_past_the_lease,
                self._pause_shortly,
                self._restart_database,
                self._crash_database,
                self._terminate_backends,
                self._slow_api,
                self._api_loses_answers,
            ]
        )
        self.done.append(fault.__name__)
        fault()

    def heal(self) -> None:
        """Leave nothing of the faults."""
        self._cluster.clear_faults()
        for each in self._replicas:
            wait_until(each.is_ready, each.log_tail, 30)

    def _any(self) -> ServiceProcess:
        return self._rng.choice(self._replicas)

    def _kill(self) -> None:
        each = self._any()
        each.kill()
        time.sleep(self._rng.choice([0.0, LEASE_SECONDS + 1]))
        each.start(ready=False)

    def _pause_past_the_lease(self) -> None:
        self._pause(LEASE_SECONDS + 2)

    def _pause_shortly(self) -> None:
        self._pause(self._rng.uniform(0.1, 1.0))

    def _pause(self, seconds: float) -> None:
        each = self._any()
        with each.paused():
            time.sleep(seconds)

    def _restart_database(self) -> None:
        self._server.restart()

    def _crash_database(self) -> None:
        self._server.stop(signal.SIGQUIT)
        time.sleep(self._rng.uniform(0.0, 2.0))
        self._server.start()

    def _terminate_backends(self) -> None:
        self._server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            self._database,
        )

    def _slow_api(self) -> None:
        self._api("latency", 0.1)

    def _api_loses_answers(self) -> None:
        self._api("cut_after", None)

    def _api(self, kind: str, seconds: float | None) -> None:
        self._cluster.add_fault(kind, verb="create", resource="jobs", seconds=seconds)
        time.sleep(self._rng.uniform(0.1, 1.0))
        self._cluster.clear_faults()
