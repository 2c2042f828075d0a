"""Leadership: of several replicas one at a time, by a Lease, and never one that may have lost it.

The step that decides is that of ``kubernetes.leaderelection``. Its loop and its lock are not used:
the loop cannot be stopped, ends for good on a connection reset and tells nobody, and the lock
makes calls without a timeout, through typed models that drop what they do not know.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection

from lambda_builder.errors import AttemptFailed
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.lease import LeaseLock

LEASE_NAME = "lambda-builder-events"
_RENEW_JITTER = 0.2
_MARGIN = 0.15
"""Share of the lease's duration that is not relied on: clocks do not run alike."""
_TIMEOUT_SHARE = 0.25
"""Of the duration; a step makes two requests, and has to be over before the lease is."""


def identity(environ: Mapping[str, str] | None = None) -> str:
    """Return a name that no other process has: the pod's or host's, and something random."""
    environ = os.environ if environ is None else environ
    host = environ.get("POD_NAME") or socket.gethostname()
    return f"{host}_{secrets.token_hex(4)}"


class Leadership:
    """Takes and keeps the Lease; thread-safe. ``start`` and ``stop`` are harmless twice."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        me: str,
        *,
        duration_seconds: int = 15,
        renew_seconds: float = 5.0,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``me`` is this process's ``identity``; nobody else takes a Lease before it has not been
        renewed for ``duration_seconds``."""
        self._duration, self._renew = duration_seconds, renew_seconds
        self._rng = rng or random.Random()
        self._clock = clock
        self._lock = LeaseLock(
            client,
            namespace,
            LEASE_NAME,
            me,
            duration_seconds=duration_seconds,
            timeout_seconds=duration_seconds * _TIMEOUT_SHARE,
            clock=clock,
        )
        self._election: Any = _election(self._lock, duration_seconds)
        self._leads_until = -1.0
        self._was_leader = False
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="leader-election", daemon=True)

    @property
    def is_leader(self) -> bool:
        """Whether the Lease is surely this process's now."""
        return not self._stopping.is_set() and self._clock() < self._leads_until

    def start(self) -> None:
        """Stand for election; does nothing after ``stop``."""
        with self._starting:
            if self._thread.ident is None and not self._stopping.is_set():
                self._thread.start()

    def resign(self) -> None:
        """Lead no more, and give the Lease up soon, in the election's own thread."""
        self._stopping.set()

    def stop(self, timeout: float) -> list[str]:
        """Resign, and wait until the Lease is given up, if the API answers in time.

        Returns the thread's name if it is still alive after ``timeout`` seconds.
        """
        self.resign()
        with self._starting:
            started = self._thread.ident is not None
        if started:
            self._thread.join(timeout)
        return [self._thread.name] if self._thread.is_alive() else []

    # -- the thread ----------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._step()
            self._tell()
            self._stopping.wait(self._renew * self._rng.uniform(1 - _RENEW_JITTER, 1))
        try:
            self._lock.release()
        except AttemptFailed as error:
            structlog.get_logger().warning("lease_not_given_up", error=str(error))

    def _step(self) -> None:
        began = self._clock()
        try:
            held: bool = self._election.try_acquire_or_renew()
        except AttemptFailed as error:
            structlog.get_logger().warning("lease_not_renewed", error=str(error))
            return
        except Exception:  # noqa: BLE001 - a Lease that somebody broke must not end the election
            structlog.get_logger().exception("lease_not_renewed")
            return
        # Others count from when they saw the renewal, which is later than this.
        self._leads_until = began + self._duration * (1 - _MARGIN) if held else -1.0

    def _tell(self) -> None:
        if self.is_leader != self._was_leader:
            self._was_leader = not self._was_leader
            event = "leadership_gained" if self._was_leader else "leadership_lost"
            structlog.get_logger().info(event, lease=LEASE_NAME)


def _election(lock: LeaseLock, duration_seconds: int) -> Any:
    """Return the library's election, of which only the step is used, and so only the duration."""
    make_config: Any = Config  # the library has no types
    make_election: Any = LeaderElection
    config = make_config(
        lock, duration_seconds, 0.9 * duration_seconds, 0.5 * duration_seconds, _nothing, _nothing
    )
    return make_election(config)


def _nothing() -> None:
    """The library wants something to call; its loop, which would call it, never runs."""
