"""What watching many Jobs costs: ``python -m bench.watcher [--jobs 50000]``.

Against the embedded cluster in a process of its own, with Jobs that are all unfinished, each of
another target, and with details kept: the most that a record can take. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.journal import NoJournal
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.credentials import load_configuration
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.acceptance import Acceptance
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.stats import Counts
from lambda_builder.settings import Settings

_NAMESPACE = "knative-lambda"
_CREATORS = 4
_SYNC_SECONDS = 600.0
_CHANGES_A_SECOND = 50
_ROUNDS = 10
_BATCH = 5000
_MIB = 1024 * 1024


def request(number: int) -> BuildRequest:
    """Return a build of the usual size, of a target of its own."""
    source, third, parser = f"network.notifi.customer-{number}", f"customer-{number}", "parser-1"
    digest = netstring_digest(source, f"id-{number}")
    return BuildRequest(
        event_id=f"id-{number}",
        event_source=source,
        event_type="network.notifi.lambda.build.start",
        parser_id=parser,
        third_party_id=third,
        correlation_id=f"correlation-{number}",
        event_hash=digest,
        job_name=job_name(third, parser, digest),
        accepted_at=time.time(),
    )


def connect(kubeconfig: Path) -> KubeClient:
    """Return a client for the embedded cluster."""
    environ = {"KUBECONFIG": str(kubeconfig)}
    return KubeClient(
        lambda: load_configuration(pool_size=_CREATORS + 4, environ=environ), timeout_seconds=60
    )


@contextmanager
def embedded_cluster(kubeconfig: Path) -> Iterator[None]:
    """Run the embedded cluster, and write how to connect to it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lambda_builder.devcluster", "--kubeconfig", str(kubeconfig)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.wait(10)


def create_jobs(jobs: JobManager, count: int) -> None:
    """Create suspended Jobs, so that the cluster has no pods to run."""
    template = JobTemplate.from_settings(Settings(kueue_queue="bench"))

    def create(numbers: range) -> None:
        for number in numbers:
            jobs.create_job(template.render(request(number)))

    with ThreadPoolExecutor(_CREATORS) as pool:
        parts = [range(start, count, _CREATORS) for start in range(_CREATORS)]
        for _ in pool.map(create, parts):
            pass


def resident() -> int:
    """Return this process's memory, in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def accepting(until: Callable[[], bool] = lambda: True) -> dict[str, float]:
    """Accept builds, without HTTP, in one thread, for some rounds and ``until`` says stop.

    Returns the best round's builds a second, and how long the slowest took at worst.
    """
    announcer = Announcer(source="bench", overrides={}, sink=False, dead_letters=False)
    best, worst, rounds = 0.0, 0.0, 0
    while rounds < _ROUNDS or not until():
        results = ResultStore(ttl_seconds=60, maximum=1000)
        live, journal = LiveBuilds(), NoJournal()
        announcements = Announcements(announcer, journal.outbox)
        ledger = Ledger(results, live, journal, announcements, namespace=_NAMESPACE)
        waiting: BuildQueue[Build] = BuildQueue(_BATCH)
        acceptance = Acceptance(waiting, ledger, live, results, journal, Counts())
        builds = [request(10_000_000 + number) for number in range(_BATCH)]
        times = []
        for build in builds:
            start = time.perf_counter()
            acceptance.accept([build])
            times.append(time.perf_counter() - start)
        waiting.close()
        best, worst = max(best, _BATCH / sum(times)), max(worst, *times)
        rounds += 1
    return {"per_second": round(best), "worst_ms": round(worst * 1000, 1)}


@contextmanager
def changing(kubeconfig: Path) -> Iterator[None]:
    """Let another process change Jobs all the time, at a steady rate."""
    process = subprocess.Popen([sys.executable, "-m", "bench.watcher", "--change", str(kubeconfig)])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def change(kubeconfig: Path) -> None:
    """Change Jobs until somebody ends the process."""
    jobs = JobManager(connect(kubeconfig), _NAMESPACE)
    known = [(job["metadata"]["name"], job["metadata"]["uid"]) for job in jobs.list_jobs()]
    pause = threading.Event()
    for number, (name, uid) in enumerate(itertools.cycle(known)):
        jobs.patch_annotations(name, {"bench/number": str(number)}, uid)
        pause.wait(1 / _CHANGES_A_SECOND)


def synced(watcher: JobWatcher) -> JobWatcher:
    """Start a watcher and wait for its list."""
    watcher.start()
    deadline = time.monotonic() + _SYNC_SECONDS
    while not watcher.synced and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return watcher


def accepting_while_listing(client: KubeClient) -> dict[str, float]:
    """Accept builds for as long as it takes to list all Jobs."""
    another = JobWatcher(client, _NAMESPACE)
    another.start()
    try:
        return accepting(lambda: another.synced)
    finally:
        another.stop(5)


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Return what watching ``count`` Jobs costs."""
    kubeconfig = folder / "kubeconfig"
    with embedded_cluster(kubeconfig):
        client = connect(kubeconfig)
        create_jobs(JobManager(client, _NAMESPACE), count)
        before, began = resident(), time.perf_counter()
        watcher = synced(JobWatcher(client, _NAMESPACE))
        found: dict[str, Any] = {
            "jobs": len(watcher.records()),
            "list_seconds": round(time.perf_counter() - began, 1),
            "growth_mib": round((resident() - before) / _MIB, 1),
            "accepting": {"while_watching": accepting()},
        }
        with changing(kubeconfig):
            found["accepting"][f"at_{_CHANGES_A_SECOND}_changes_a_second"] = accepting()
        found["accepting"]["while_listing"] = accepting_while_listing(client)
        watcher.stop(5)
        del watcher
        gc.collect()
        found["accepting"]["alone"] = accepting()
        client.close()
    return found


def main() -> None:
    """Measure once and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50_000, help="unfinished Jobs")
    parser.add_argument("--change", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if options.change:
        change(options.change)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options.jobs, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
