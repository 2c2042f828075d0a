"""What the simulated builds write, and who is following it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

_PUSHED = 2
"""Lines of a build that are about its push."""


class PodRun:
    """The run of one container: when its lines appear and how it ended."""

    __slots__ = ("ended", "exit_code", "followers", "last_words", "planned", "seconds", "started")

    def __init__(self, planned: list[str], seconds: float) -> None:
        self.planned = planned
        self.started = time.monotonic()
        self.seconds = seconds
        self.ended: float | None = None
        self.exit_code = 0
        self.last_words = ""
        self.followers: list[Callable[[], None]] | None = None

    def lines(self) -> list[str]:
        """The lines written so far. The last one is kept for a build that succeeds."""
        planned = self.planned
        if self.ended is None or self.exit_code:
            planned = planned[: self._written(len(planned) - 1)]
        if self.ended is not None and self.exit_code:
            default = (
                "error building image: error building stage: failed to execute command: waiting "
                f"for process to exit: exit status {self.exit_code}"
            )
            planned = planned + (self.last_words or default).split("\n")
        return planned

    def next_line_in(self) -> float | None:
        """Seconds until another line is due; None when nothing is due before the end."""
        last = len(self.planned) - 1
        written = self._written(last)
        if written >= last:
            return None
        due = self.started + self.seconds * (written + 1) / last
        return max(0.001, due - time.monotonic() + 0.001)

    def _written(self, count: int) -> int:
        until = self.ended if self.ended is not None else time.monotonic()
        share = (until - self.started) / self.seconds if self.seconds > 0 else 1.0
        return max(1, int(min(1.0, share) * count))


class PodLogs:
    """The runs of all containers there are, by their pods' keys. On the server's thread only."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, PodRun]] = {}

    def get(self, key: str, container: str) -> PodRun | None:
        """Return the run of a container; None where it has not started."""
        return self._runs.get(key, {}).get(container)

    def started(
        self, key: str, job: str, container: str, names: Collection[str], seconds: float
    ) -> None:
        """One of the containers ``names`` of a pod runs from now on, for ``seconds``."""
        lines = container_lines(job, container, names)
        self._runs.setdefault(key, {})[container] = PodRun(lines, seconds)

    def ended(self, key: str, container: str, exit_code: int, last_words: str = "") -> None:
        """A container has ended; its followers hear the rest."""
        run = self.get(key, container)
        if run is not None and run.ended is None:
            run.ended, run.exit_code, run.last_words = time.monotonic(), exit_code, last_words
            self._tell(run)

    def removed(self, key: str) -> None:
        """A pod is gone, and its logs with it."""
        for run in self._runs.pop(key, {}).values():
            run.ended = run.ended or time.monotonic()
            self._tell(run)

    def _tell(self, run: PodRun) -> None:
        followers, run.followers = run.followers, None
        for follower in followers or ():
            follower()


def container_lines(job: str, container: str, names: Collection[str]) -> list[str]:
    """What one of the containers ``names`` of a build that succeeds writes."""
    lines = build_lines(job)
    if container == "fetch":
        return ["devcluster: this fetch is simulated, nothing is fetched"]
    if "push" not in names or "build" not in names:
        return lines
    return {"build": lines[:-_PUSHED], "push": lines[-_PUSHED:]}.get(container, lines)


def build_lines(job: str) -> list[str]:
    """What a build that succeeds writes from start to end."""
    return [
        "INFO[0000] devcluster: this build is simulated, nothing is built",
        "INFO[0000] Retrieving image manifest python:3.11-slim",
        "INFO[0000] Retrieving image python:3.11-slim from registry index.docker.io",
        "INFO[0001] Built cross stage deps: map[]",
        "INFO[0001] Executing 0 build triggers",
        "INFO[0001] Building stage 'python:3.11-slim' [idx: '0', base-idx: '-1']",
        "INFO[0002] Unpacking rootfs as cmd COPY . /app requires it.",
        "INFO[0004] COPY . /app",
        "INFO[0004] Taking snapshot of files...",
        "INFO[0005] RUN pip install -r /app/requirements.txt",
        "INFO[0009] Taking snapshot of full filesystem...",
        f"INFO[0011] Pushing image of {job}",
        f"INFO[0012] Pushed image of {job}",
    ]
