"""Failures that are alike, together. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_builder.builds import BuildResult
from lambda_builder.page.advice import advice
from lambda_builder.page.words import gist

_OWN = re.compile(
    r"build-[a-z0-9-]+-[0-9a-f]{10}(?:-\w{5})?|sha256:[0-9a-f]+|\b[0-9a-f-]{16,}\b"
    r"|\b\d+(?:\.\d+)*\b|https?://\S+|s3://\S+"
)
"""What differs from build to build though the failure is the same."""
_LONGEST = 200
_LEAST_SEARCHED = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Builds that failed in the same way."""

    why: str
    """The failure's category, or the code of an error that let no Job be made."""
    category: str | None
    pattern: str
    """The message, with ``…`` in place of what differs."""
    search: str | None
    """What all of the messages have in them, to search for."""
    count: int
    latest: float
    job_name: str
    """Of the latest."""
    advice: str | None


def groups(failed: Sequence[BuildResult]) -> list[Group]:
    """Group builds, given newest first, by category and message; the largest group first."""
    found: dict[tuple[str, str], list[BuildResult]] = {}
    for build in failed:
        if build.error is not None:
            why = build.error.category or build.error.code
            found.setdefault((why, _pattern(build.error.message)), []).append(build)
    made = [_group(why, pattern, builds) for (why, pattern), builds in found.items()]
    return sorted(made, key=lambda group: (-group.count, -group.latest))


def _group(why: str, pattern: str, builds: Sequence[BuildResult]) -> Group:
    newest = builds[0]
    category = newest.error.category if newest.error else None
    messages = [build.error.message for build in builds if build.error]
    return Group(
        why=why,
        category=category,
        pattern=pattern,
        search=_search(pattern, messages) or (None if category else why),
        count=len(builds),
        latest=newest.finished_at or newest.request.accepted_at,
        job_name=newest.request.job_name,
        advice=advice(newest),
    )


def _pattern(message: str) -> str:
    """Return what messages of the same failure have in common."""
    return _OWN.sub("…", gist(message)[: 4 * _LONGEST])[:_LONGEST] or "no message"


def _search(pattern: str, messages: Sequence[str]) -> str | None:
    """Return the longest part that is in all of the messages as they are."""
    parts = sorted((part.strip() for part in pattern.split("…")), key=len, reverse=True)
    for part in parts:
        if len(part) >= _LEAST_SEARCHED and all(part in message for message in messages):
            return part
    return None
