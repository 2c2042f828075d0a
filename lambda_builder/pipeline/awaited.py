"""Awaited: whoever waits for a build that another replica works off is told of its outcome."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future

from lambda_builder.builds import BuildResult
from lambda_builder.pipeline.live_builds import Build

Find = Callable[[str], BuildResult | None]


class Awaited:
    """Futures of builds that wait elsewhere, as long as anybody holds them; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[int, tuple[str, weakref.ref[Future[BuildResult]]]] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._futures)

    def add(self, build: Build) -> None:
        """Go on telling those who wait for a build that moved away."""
        if not build.future.done():
            self._add(build.request.event_hash, build.future)

    def future_of(self, event_hash: str) -> Future[BuildResult]:
        """Return what ends with the outcome of a build that waits elsewhere."""
        future: Future[BuildResult] = Future()
        self._add(event_hash, future)
        return future

    def look(self, find: Find) -> None:
        """Tell whoever waits for a build that ``find`` says has an outcome; raises as that."""
        with self._lock:
            futures = [*self._futures.items()]
        for key, (event_hash, reference) in futures:
            future = reference()
            result = None if future is None else find(event_hash)
            if future is None or result is None or not result.state.waits:
                with self._lock:
                    self._futures.pop(key, None)
            if future is not None and result is not None and not result.state.waits:
                future.set_result(result)

    def _add(self, event_hash: str, future: Future[BuildResult]) -> None:
        with self._lock:
            self._futures[id(future)] = event_hash, weakref.ref(future)
