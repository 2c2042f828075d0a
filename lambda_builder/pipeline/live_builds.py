"""LiveBuilds: builds that wait for their Jobs, and who decides what becomes of each, once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from lambda_builder.builds import BuildRequest, BuildResult


@dataclass(slots=True, eq=False)
class Build:
    """A build that waits for its Job: what the queue holds and the workers pass on.

    Its flags are set by ``LiveBuilds`` under one lock; ``attempts``, ``tried`` and ``uncertain`` by
    the worker that holds it.
    """

    request: BuildRequest
    future: Future[BuildResult] = field(default_factory=Future)
    attempts: int = 0
    tried: bool = False
    """An attempt was begun, now or by an earlier process."""
    uncertain: bool = False
    """A Job may exist: one is being made, or an attempt ended without a clear answer."""
    entered: bool = False
    """It is, or was, in the queue."""
    cancelled: bool = False
    """Somebody asked to cancel it; never after ``settled``."""
    settled: bool = False
    """Its outcome is decided."""


def _pass_on(to: Future[BuildResult], known: Future[BuildResult]) -> None:
    if not to.done():
        to.set_result(known.result())


class LiveBuilds:
    """Builds by event and by target; thread-safe, one lock, and nothing slow under it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._builds: dict[str, Build] = {}
        self._targets: dict[tuple[str, str], int] = {}

    def get(self, event_hash: str) -> Build | None:
        """Return an event's build while it waits for its Job."""
        with self._lock:
            return self._builds.get(event_hash)

    def has_target(self, third_party_id: str, parser_id: str) -> bool:
        """Whether a build for this target waits for its Job."""
        with self._lock:
            return (third_party_id, parser_id) in self._targets

    def add(self, builds: Sequence[Build]) -> list[Build]:
        """Add builds that are about to be queued; returns them, but for those that are already.

        One that was taken from the journal since it was recorded takes their place.
        """
        entering = []
        with self._lock:
            for build in builds:
                known = self._builds.get(build.request.event_hash)
                if known is None:
                    self._add(build)
                else:
                    known.future.add_done_callback(partial(_pass_on, build.future))
                    if known.entered:
                        continue
                    build = known
                build.entered = True
                entering.append(build)
        return entering

    def add_unless(self, build: Build, known: Callable[[], bool]) -> Build | None:
        """Add a build, or return the live one of its event; None where it has ended already.

        ``known`` says whether the event's outcome is known; it is asked under the lock.
        """
        with self._lock:
            live = self._builds.get(build.request.event_hash)
            if live is not None:
                return None if live.settled else live
            if known():
                return None
            self._add(build)
            return build

    def drop(self, build: Build) -> None:
        """The build has ended, and everybody was told."""
        with self._lock:
            build.settled = True
            self._drop(build)

    def outside(self) -> list[Build]:
        """Return the builds that are known here, but not in the queue, and have not ended."""
        with self._lock:
            builds = self._builds.values()
            return [build for build in builds if not (build.entered or build.settled)]

    # -- decisions -----------------------------------------------------------------------------

    def enter(self, build: Build) -> bool:
        """Note that a build of the journal goes into the queue; False where it has ended, or is
        in it.
        """
        with self._lock:
            if build.settled or build.entered:
                return False
            build.entered = True
            return True

    def stay_outside(self, build: Build) -> None:
        """Take back that a build goes into the queue: there is no room for it yet."""
        with self._lock:
            build.entered = False

    def settle(self, build: Build, *, despite_cancel: bool = True) -> bool:
        """Decide that the build ends; False where it yields to a cancel, and there is one."""
        with self._lock:
            if build.cancelled and not despite_cancel:
                return False
            build.settled = True
            return True

    def settle_outside(self, build: Build) -> bool:
        """Decide that a build ends that waits to be taken over; False where it is in the queue."""
        with self._lock:
            if build.entered or build.settled:
                return False
            build.settled = True
            return True

    def ask_to_cancel(self, build: Build) -> bool:
        """Mark a build as cancelled; False when its outcome was decided meanwhile."""
        with self._lock:
            build.cancelled = not build.settled
            return build.cancelled

    def keep(self, build: Build) -> None:
        """Take back that a build was cancelled: its Job is there and cannot be deleted."""
        with self._lock:
            build.cancelled = False

    # -- with the lock held --------------------------------------------------------------------

    def _add(self, build: Build) -> None:
        request = build.request
        self._builds[request.event_hash] = build
        target = (request.third_party_id, request.parser_id)
        self._targets[target] = self._targets.get(target, 0) + 1

    def _drop(self, build: Build) -> None:
        request = build.request
        if self._builds.get(request.event_hash) is not build:
            return
        del self._builds[request.event_hash]
        target = (request.third_party_id, request.parser_id)
        self._targets[target] -= 1
        if not self._targets[target]:
            del self._targets[target]
