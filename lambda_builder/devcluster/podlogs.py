"""What the simulated builds write, and who is following it."""

from __future__ import annotations

import time
from collections.abc import Callable


class PodRun:
    """The run of one pod's container: when its lines appear and how it ended."""

    __slots__ = ("ended", "exit_code", "followers", "job", "last_words", "seconds", "started")

    def __init__(self, job: str, seconds: float) -> None:
        self.job = job
        self.started = time.monotonic()
        self.seconds = seconds
        self.ended: float | None = None
        self.exit_code = 0
        self.last_words = ""
        self.followers: list[Callable[[], None]] | None = None

    def lines(self) -> list[str]:
        """The lines written so far. The last one is kept for a build that succeeds."""
        planned = build_lines(self.job)
        if self.ended is None or self.exit_code:
            planned = planned[: self._written(len(planned) - 1)]
        if self.ended is not None and self.exit_code:
            default = (
                "error building image: error building stage: failed to execute command: waiting "
                f"for process to exit: exit status {self.exit_code}"
            )
            planned += (self.last_words or default).split("\n")
        return planned

    def next_line_in(self) -> float | None:
        """Seconds until another line is due; None when nothing is due before the end."""
        last = len(build_lines(self.job)) - 1
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
    """The runs of all pods there are. On the server's thread only."""

    def __init__(self) -> None:
        self._runs: dict[str, PodRun] = {}

    def get(self, key: str) -> PodRun | None:
        """Return the run of a pod; None where it has not started."""
        return self._runs.get(key)

    def started(self, key: str, job: str, seconds: float) -> None:
        """A pod runs from now on, for ``seconds``."""
        self._runs[key] = PodRun(job, seconds)

    def ended(self, key: str, exit_code: int, last_words: str = "") -> None:
        """A pod's container has ended; its followers hear the rest."""
        run = self._runs.get(key)
        if run is not None and run.ended is None:
            run.ended, run.exit_code, run.last_words = time.monotonic(), exit_code, last_words
            self._tell(run)

    def removed(self, key: str) -> None:
        """A pod is gone, and its log with it."""
        run = self._runs.pop(key, None)
        if run is not None:
            run.ended = run.ended or time.monotonic()
            self._tell(run)

    def _tell(self, run: PodRun) -> None:
        followers, run.followers = run.followers, None
        for follower in followers or ():
            follower()


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
