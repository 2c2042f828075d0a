"""Service: the running whole: what starts, in which order, and what a shutdown does.

Shutdown order: intake, workers, hand-off and dead letters, the other deliveries, journal,
telemetry; one deadline for all of it, and what one does not need is there for the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from lambda_builder.journal import Journal
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.health import ApiHealth
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.outgoing.sink import Sink
from lambda_builder.pipeline.creator import AsyncJobCreator
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build
from lambda_builder.pipeline.takeover import TakeOver
from lambda_builder.telemetry.tracing import Exporter

_JOURNAL_SECONDS = 0.5
"""What the journal has of the time after the drain, at least."""
_NEWS_SECONDS = 0.2
"""Longest wait for the last news to be written, before the sink's last tries."""
_PARTS_SECONDS = 0.3
"""What all else has, at least, before the journal."""
_CALL_MARGIN_SECONDS = 0.5
"""API calls end this long before the drain does, so that their builds can be put away."""
_LEAST_CALL_SECONDS = 0.1
"""Nothing is given out any more when a call could not have so long."""
_DEAD_LETTERS_SHARE = 1 / 3
"""Of the time that is left after the drain, where nothing else remembers a build."""
_LOOK_SECONDS = 0.05


class Part(Protocol):
    """Something with threads of its own."""

    def start(self) -> None:
        """Start the threads. Harmless twice."""

    def stop(self, timeout: float) -> list[str]:
        """End them within ``timeout`` seconds; returns the names of those still alive."""


class Service:
    """Starts and stops everything; every method is thread-safe and harmless twice."""

    def __init__(
        self,
        *,
        creator: AsyncJobCreator,
        ledger: Ledger,
        take_over: TakeOver,
        journal: Journal,
        announcer: Announcer,
        sink: Sink,
        client: KubeClient,
        health: ApiHealth,
        parts: Sequence[Part],
        at_once: Sequence[Callable[[], None]],
        handoff_url: str,
        dead_letter_url: str,
        drain_seconds: float,
        closing_seconds: float,
        exporter: Exporter | None,
    ) -> None:
        """``parts`` run beside the workers and stop after them; ``at_once`` comes before all."""
        self.creator = creator
        self._ledger = ledger
        self._take_over = take_over
        self._journal = journal
        self._announcer = announcer
        self._sink = sink
        self._client = client
        self._health = health
        self._parts = parts
        self._at_once = at_once
        self._durable = journal.durable
        self._handoff_url = handoff_url
        self._dead_letters = bool(dead_letter_url) and not self._durable
        self._drain_seconds = drain_seconds
        self._closing_seconds = closing_seconds
        self._exporter = exporter
        self._asked = threading.Event()
        self._stopper = threading.Thread(target=self._run_shutdown, name="shutdown", daemon=True)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start everything; raises ``BootError`` when it cannot."""
        self.creator.start()
        self._sink.start()
        for part in self._parts:
            part.start()
        with self._lock:
            if self._stopper.ident is None:
                self._stopper.start()
        structlog.get_logger().info("service_started", kubernetes=self._client.host)

    def begin_shutdown(self) -> None:
        """Close the intake and begin the drain; returns at once. Safe in a signal handler."""
        self._asked.set()

    @property
    def is_shutting_down(self) -> bool:
        """Whether a shutdown was asked for."""
        return self._asked.is_set()

    def shutdown(self) -> None:
        """Begin the shutdown if need be, and wait for its end, within its own deadline."""
        self.begin_shutdown()
        if self._stopper.ident is not None:
            self._stopper.join(self._drain_seconds + self._closing_seconds + 1.0)

    # -- the shutdown thread -------------------------------------------------------------------

    def _run_shutdown(self) -> None:
        self._asked.wait()
        log = structlog.get_logger()
        begun = time.monotonic()
        drained_by = begun + self._drain_seconds
        log.info("shutdown_started", drain_seconds=self._drain_seconds)
        self._try(self.creator.close_intake)
        for step in self._at_once:
            self._try(step)
        last_call = drained_by - _CALL_MARGIN_SECONDS
        self._client.set_deadline(last_call)
        left: list[Build] = []
        self._try(lambda: left.extend(self.creator.drain(last_call - _LEAST_CALL_SECONDS)))
        ends_by = drained_by + self._closing_seconds
        self._try(lambda: self._put_away(left, ends_by - _PARTS_SECONDS - _JOURNAL_SECONDS))
        self._close(min(ends_by, time.monotonic() + self._closing_seconds))
        log.info("shutdown_finished", left=len(left), seconds=round(time.monotonic() - begun, 2))

    def _try(self, step: Callable[[], object]) -> None:
        """Run one step; whatever goes wrong in it, the next ones have their turn."""
        try:
            step()
        except Exception:  # noqa: BLE001 - the process ends in any case; it must say why
            structlog.get_logger().exception("shutdown_step_failed")

    def _close(self, deadline: float) -> None:
        alive: list[str] = []
        for part in (*self._parts, self._sink):
            wait = max(0.1, _until(deadline - _JOURNAL_SECONDS))
            if part is self._sink:
                # What the others told last is due for it only once it is written.
                self._try(lambda wait=wait: self._journal.flush(min(wait, _NEWS_SECONDS)))  # type: ignore[misc]
            self._try(lambda part=part, wait=wait: alive.extend(part.stop(wait)))  # type: ignore[misc]
        if not self._journal.close(max(0.2, _until(deadline))):
            alive.append("journal")
        self._try(self._health.stop)
        self._try(self._client.close)
        if alive:
            structlog.get_logger().warning("threads_still_alive", threads=alive)
        if self._exporter:
            # It has a timeout of its own, and a collector that hangs must not use up ours.
            flush = threading.Thread(target=self._exporter.shutdown, name="traces", daemon=True)
            flush.start()
            flush.join(max(0.2, _until(deadline)))

    def _put_away(self, left: Sequence[Build], deadline: float) -> None:
        """Say what becomes of the builds that the drain could not finish, one by one."""
        share = _DEAD_LETTERS_SHARE * _until(deadline) if self._dead_letters else 0.0
        handed_off = self._hand_off(left, deadline - share)
        for build in left:
            gone = build.request.event_hash in handed_off
            structlog.get_logger().warning(
                "build_left",
                handed_off=gone,
                in_journal=self._durable,
                **build.request.log_fields(),
            )
            if gone:
                self._ledger.handed_off(build.request)
            elif not self._durable:
                self._ledger.abandoned(build)
        if left and self._dead_letters:
            self._deliver_dead_letters(deadline)

    def _deliver_dead_letters(self, deadline: float) -> None:
        pause = threading.Event()
        while self._journal.outbox.pending("dead_letter") and time.monotonic() < deadline:
            pause.wait(_LOOK_SECONDS)

    def _hand_off(self, left: Sequence[Build], deadline: float) -> set[str]:
        """Send back what is left, and what was never queued; returns what was taken, by event."""
        if not self._handoff_url:
            return set()
        requests = [build.request for build in left]
        waiting = self._take_over.left_behind(left)
        messages = {
            request.event_hash: self._announcer.handoff(request)
            for request in (*requests, *waiting)
        }
        taken = self._sink.post_all(self._handoff_url, messages, deadline=deadline)
        for request in waiting:
            if request.event_hash in taken:
                self._ledger.handed_off(request)
        structlog.get_logger().warning(
            "handed_off", taken=len(taken), not_taken=len(messages) - len(taken)
        )
        return taken


def _until(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
