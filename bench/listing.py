"""What listing 100,000 builds costs: ``python -m bench.listing`` prints one JSON object.

In this process, without the API: Jobs of this replica, each of another target, as the watch reads
them; every tenth has failed. Times are of a page of 50, the median of several.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from typing import Any

from bench.report import Report, below
from bench.watcher import request
from lambda_builder.builds import BuildState
from lambda_builder.kube.index import JobIndex
from lambda_builder.kube.record import JobRecord, record_of
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.selection import BuildFilter
from lambda_builder.settings import Settings
from lambda_builder.steering.listing import BuildList

BUILDS = 100_000
_SAMPLED = 10_000
"""Jobs whose memory is counted: that makes everything slow."""
_ROUNDS = 15
_FAILED = {
    "type": "Failed",
    "status": "True",
    "reason": "BackoffLimitExceeded",
    "message": "Job has reached the specified backoff limit",
    "lastTransitionTime": "2026-11-24T06:00:09Z",
}
_ASKED = {
    "newest": BuildFilter(),
    "failed": BuildFilter(states=frozenset({BuildState.FAILED})),
    "one of its tenant": BuildFilter(third_party_id="customer-777"),
    "q, one match": BuildFilter(q="CORRELATION-777X"),
    "q, many matches": BuildFilter(q="customer"),
}


def job(template: JobTemplate, number: int) -> dict[str, Any]:
    """Return a Job of a build, with texts of its own as the API's JSON gives them."""
    manifest = template.render(request(number))
    manifest["metadata"] |= {
        "uid": f"00000000-0000-4000-8000-{number:012}",
        "creationTimestamp": "2026-11-24T06:00:00Z",
    }
    if number % 10 == 0:
        manifest["status"] = {"startTime": "2026-11-24T06:00:01Z", "conditions": [_FAILED]}
    read: dict[str, Any] = json.loads(json.dumps(manifest))
    return read


def bytes_a_job() -> float:
    """Return what one Job takes in the index."""
    template, index = JobTemplate.from_settings(Settings()), JobIndex()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(_SAMPLED):
        index.replace(None, record_of(job(template, number)))
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return taken / _SAMPLED


def like(sample: JobRecord, number: int) -> JobRecord:
    """Return the record of another build's Job; making each of its manifest would take minutes."""
    build = request(number)
    texts = sample.texts.replace("customer-0", build.third_party_id)
    texts = texts.replace("correlation-0", build.correlation_id)
    return replace(
        sample,
        name=build.job_name,
        uid=f"00000000-0000-4000-8000-{number:012}",
        event_hash=bytes.fromhex(build.event_hash[:32]),
        state=BuildState.SUCCEEDED if number % 10 else BuildState.FAILED,
        error=None if number % 10 else sample.error,
        accepted_at=build.accepted_at,
        texts=texts.replace("id-0", build.event_id),
    )


def page_milliseconds() -> dict[str, float]:
    """Return how long pages take."""
    index, results = JobIndex(), ResultStore(ttl_seconds=3600, maximum=BUILDS)
    sample = record_of(job(JobTemplate.from_settings(Settings()), 0))
    for number in range(BUILDS):
        record = like(sample, number)
        index.replace(None, record)
        results.put(record.result().but(attempts=1))
    found = {}
    builds = BuildList(results, index.search, dict, dict)
    for name, wanted in _ASKED.items():
        times = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            builds.page(wanted, limit=50)
            times.append(time.perf_counter() - began)
        found[name] = round(statistics.median(times) * 1000, 1)
    return found


def measure(report: Report) -> None:
    """Measure in a process with nothing else, and print."""
    report.section(f"listing {BUILDS:,} builds")
    output = subprocess.run(
        [sys.executable, "-m", "bench.listing"], capture_output=True, text=True, check=True
    ).stdout
    parts = json.loads(output)
    report.figure("memory of a Job", parts["bytes"], " B", target=below(1536, " B"))
    for name, milliseconds in parts["pages"].items():
        report.figure(f"a page: {name}", milliseconds, " ms", digits=1, target=below(100, " ms"))


def main() -> None:
    """Measure once and print it."""
    print(json.dumps({"bytes": bytes_a_job(), "pages": page_milliseconds()}))


if __name__ == "__main__":
    main()
