"""Builds, and the Jobs made of them, of the usual size."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from lambda_builder.builds import (
    BuildRequest,
    BuildResult,
    BuildState,
    job_name,
    netstring_digest,
)
from lambda_builder.kube.labels import correlation_hash_label
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

_TYPE = "network.notifi.lambda.build.start"
_FAILED = {
    "type": "Failed",
    "status": "True",
    "reason": "BackoffLimitExceeded",
    "message": "Job has reached the specified backoff limit",
    "lastTransitionTime": "2026-11-24T06:00:09Z",
}


def request(number: int, tenants: int = 1_000_000) -> BuildRequest:
    """Return the build of event ``number``; the tenants take turns."""
    third = f"customer-{number % tenants}"
    source, parser = f"network.notifi.{third}", f"parser-{number % 200}"
    digest = netstring_digest(source, f"id-{number}")
    event = {"specversion": "1.0", "id": f"id-{number}", "source": source, "type": _TYPE}
    return BuildRequest(
        event_id=f"id-{number}",
        event_source=source,
        event_type=_TYPE,
        parser_id=parser,
        third_party_id=third,
        correlation_id=f"correlation-{number}",
        event_hash=digest,
        job_name=job_name(third, parser, digest),
        event=json.dumps({**event, "data": {"parser_id": parser, "note": "x" * 200}}).encode(),
        accepted_at=time.time(),
    )


def result(number: int) -> BuildResult:
    """Return a build that has its Job."""
    build = request(number)
    return BuildResult(
        request=build,
        state=BuildState.SUCCEEDED,
        attempts=1,
        job_uid=f"00000000-0000-4000-8000-{number:012}",
        namespace="knative-lambda",
        image=f"registry.example:5000/lambdas:{build.event_hash}",
        created_at=build.accepted_at,
    )


def jobs(count: int) -> Iterator[dict[str, Any]]:
    """Yield Jobs as the API's JSON gives them, each of another build; every tenth has failed."""
    first = request(0)
    text = json.dumps(JobTemplate.from_settings(Settings()).render(first))
    for number in range(count):
        build = request(number)
        made = text
        for old, new in zip(_marks(first), _marks(build), strict=True):
            made = made.replace(old, new)
        manifest: dict[str, Any] = json.loads(made)
        manifest["metadata"] |= {
            "uid": f"00000000-0000-4000-8000-{number:012}",
            "creationTimestamp": "2026-11-24T06:00:00Z",
        }
        if number % 10 == 0:
            manifest["status"] = {"startTime": "2026-11-24T06:00:01Z", "conditions": [_FAILED]}
        yield manifest


def _marks(build: BuildRequest) -> tuple[str, ...]:
    """Return what tells a build's Job from others, the longest first.

    Rendering each would take minutes.
    """
    return (
        build.job_name,
        build.event_hash[:32],
        build.event_hash[:10],
        correlation_hash_label(build.correlation_id),
        build.correlation_id,
        build.third_party_id,
        build.event_id,
        build.parser_id,
    )
