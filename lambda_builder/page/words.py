"""What states and times are called on the page, and what is stuck. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lambda_builder.builds import BuildResult, BuildState

WAITING_SECONDS = 300.0
STARTING_SECONDS = 300.0
RUNNING_SECONDS = 1800.0
"""The templates' ``activeDeadlineSeconds``: what runs for longer has been given more time."""

KINDS: Mapping[BuildState, str] = {
    BuildState.QUEUED: "waits",
    BuildState.CREATING: "waits",
    BuildState.RETRYING: "waits",
    BuildState.CREATED: "starts",
    BuildState.RUNNING: "runs",
    BuildState.SUCCEEDED: "good",
    BuildState.FAILED: "bad",
    BuildState.CANCELLED: "off",
    BuildState.DEAD: "bad",
}
"""How a state looks; it is told by its word as well."""


def stuck(build: BuildResult, now: float) -> str | None:
    """Return why a build needs somebody to look at it; None where all goes well."""
    state = build.state
    if state.final:
        return None
    since = build.started_at if state is BuildState.RUNNING else build.created_at
    seconds = now - (since or build.request.accepted_at or now)
    if state is BuildState.RUNNING:
        return f"runs for {span(seconds)}" if seconds > RUNNING_SECONDS else None
    if state is BuildState.CREATED:
        if build.error is not None and build.error.category is not None:
            return f"cannot start: {build.error.category.replace('_', ' ')}"
        return f"has not started for {span(seconds)}" if seconds > STARTING_SECONDS else None
    return f"waits for {span(seconds)}" if seconds > WAITING_SECONDS else None


def gist(message: str) -> str:
    """Return the line of an error that tells most: the last, a builder's last word."""
    lines = message.split("\n")
    return " ".join(next((line for line in reversed(lines) if line.strip()), "").split())


def span(seconds: float) -> str:
    """Return a duration as it is shown: ``0.4 s``, ``12 s``, ``4 min``, ``3 h``, ``2 d``."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    for size, unit, most in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800)):
        if seconds < most:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86_400)} d"
