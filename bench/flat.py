"""That nothing becomes slower by what there is: ``python -m bench.flat KIND`` prints one object.

In a process of its own, without HTTP, API and threads, so that all of the time is ours: that of the
processor. Accepting is what an event costs once it is read, which shows more than the whole would.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import structlog

from bench import samples
from bench.report import Report, at_least, below
from bench.setup import Scale, resident_mib
from lambda_builder.builds import BuildState
from lambda_builder.pipeline.acceptance import entry_for
from lambda_builder.pipeline.collector import PipelineCollector
from lambda_builder.pipeline.live_builds import Build
from lambda_builder.selection import BuildFilter
from lambda_builder.settings import Settings
from lambda_builder.wiring.base import Base
from lambda_builder.wiring.pipeline import Pipeline, build_pipeline
from lambda_builder.wiring.steering import build_steering
from lambda_builder.wiring.watched import Watched, watch

RESULTS, JOBS, TENANTS, WAITING = 100_000, 50_000, 10_000, 100_000
_FIRST_NEW = 10_000_000
_BATCHES = 5
_KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""
_PAGES = {
    "newest": BuildFilter(),
    "failed": BuildFilter(states=frozenset({BuildState.FAILED})),
    "of a tenant, one": BuildFilter(third_party_id="customer-777"),
    "q, one match": BuildFilter(q="CORRELATION-777X"),
}


class _Subject:
    """All but HTTP, unstarted; the parts are those of the service."""

    def __init__(self, folder: Path) -> None:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(_KUBECONFIG)
        os.environ["KUBECONFIG"] = str(kubeconfig)
        settings = Settings(
            queue_size=1_000_000, queue_max_bytes=2**30, queue_discipline="fair", result_max=RESULTS
        )
        self.base = Base.of(settings)
        self.watched: Watched = watch(self.base)
        self.pipeline: Pipeline = build_pipeline(self.base, self.watched)
        self.listing = build_steering(self.base, self.watched, self.pipeline).listing
        collector = PipelineCollector(self.pipeline.creator.get_stats, self.base.journal)
        self.base.metrics.registry.register(collector)

    def fill(self, kind: str, count: int) -> None:
        if kind == "results":
            for number in range(count):
                self.base.results.put(samples.result(number))
        elif kind == "jobs":
            for job in samples.jobs(count):
                self.watched.watcher.page([job])
        elif kind == "tenants":
            for number in range(count):
                self.pipeline.acceptance.accept([samples.request(number, TENANTS)])

    def accepting(self, count: int) -> list[float]:
        """Return events a second of the processor, batch by batch."""
        found = []
        for batch in range(_BATCHES):
            first = _FIRST_NEW + batch * count
            builds = [samples.request(number) for number in range(first, first + count)]
            begun = time.process_time()
            for build in builds:
                self.pipeline.acceptance.accept([build])
            found.append(count / (time.process_time() - begun))
        return found

    def queue_microseconds(self, count: int) -> dict[str, float]:
        """Return what ``put`` and ``get`` of the queue take."""
        queue = self.pipeline.queue
        first = 2 * _FIRST_NEW
        numbers = range(first, first + count)
        entries = [entry_for(Build(samples.request(number, TENANTS))) for number in numbers]

        def put_all() -> None:
            for entry in entries:
                queue.put(entry)

        put = _milliseconds(put_all, 1)
        get = _milliseconds(lambda: [queue.get(block=False) for _ in entries], 1)
        return {"put": put / count * 1e3, "get": get / count * 1e3}

    def measured(self, count: int) -> dict[str, Any]:
        return {
            "accepting": self.accepting(count),
            **self.queue_microseconds(count),
            "stats": _milliseconds(self.pipeline.creator.get_stats, 20),
            "scrape": _milliseconds(self.base.metrics.exposition.openmetrics, 20),
            "pages": {
                name: _milliseconds(partial(self.listing.page, wanted, limit=50), 5)
                for name, wanted in _PAGES.items()
            },
        }


def _milliseconds(action: Callable[[], object], times: int) -> float:
    """Return the median time of the processor."""
    found = []
    for _ in range(times):
        begun = time.process_time()
        action()
        found.append(time.process_time() - begun)
    return statistics.median(found) * 1e3


def _run(kind: str, count: int, events: int) -> dict[str, Any]:
    command = [kind, "--count", str(count), "--events", str(events)]
    output = subprocess.run(
        [sys.executable, "-m", "bench.flat", *command], stdout=subprocess.PIPE, check=True
    ).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def measure(report: Report, scale: Scale) -> None:
    """Measure empty and full, each in a process with nothing else."""
    report.section("flat: the processor's time of accepting, without HTTP, by what there is")
    events = scale.of(2_000, 50)
    counts = {
        f"{RESULTS:,} results": ("results", scale.of(RESULTS, 200)),
        f"{JOBS:,} Jobs watched": ("jobs", scale.of(JOBS, 200)),
        f"{WAITING:,} waiting, of {TENANTS:,} tenants": ("tenants", scale.of(WAITING, 200)),
    }
    counts = dict(list(counts.items())[: scale.of(3, 1)])
    found = {"empty": _run("empty", 0, events)}
    for name, (kind, count) in counts.items():
        found[name] = _run(kind, count, events)
    empty = found["empty"]["accepting"]
    report.row("empty: events/s", empty)
    for name, parts in found.items():
        if name != "empty":
            ratios = [a / b for a, b in zip(parts["accepting"], empty, strict=True)]
            report.row(f"{name}: of empty", ratios, digits=2, target=at_least(0.9))
        for what in ("put", "get"):
            report.row(f"{name}: {what}", parts[what], "us", digits=1, target=below(15))
        for what in ("stats", "scrape"):
            report.row(f"{name}: {what}", parts[what], "ms", digits=1, target=below(5))
    _show_memory_and_pages(report, scale, found, counts)


def _show_memory_and_pages(
    report: Report,
    scale: Scale,
    found: dict[str, dict[str, Any]],
    counts: dict[str, tuple[str, int]],
) -> None:
    for name, (kind, count) in counts.items():
        grown = found[name]["grown_mib"]
        if kind == "results":
            report.row(f"{name}: memory", grown, "MiB", target=below(100))
        else:
            report.row(f"{name}: memory of one", grown / count * 2**20, "B")
        if kind != "tenants":
            for page, milliseconds in found[name]["pages"].items():
                title = f"{name}: a page, {page}"
                report.row(title, milliseconds, "ms", digits=1, target=below(100))


def main() -> None:
    """Fill, measure once and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["empty", "results", "jobs", "tenants"])
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--events", type=int, default=2_000)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        subject = _Subject(Path(folder))
    process = psutil.Process()
    before = resident_mib(process)
    subject.fill(options.kind, options.count)
    gc.collect()
    grown = resident_mib(process) - before
    print(json.dumps({"grown_mib": grown, **subject.measured(options.events)}))


if __name__ == "__main__":
    main()
