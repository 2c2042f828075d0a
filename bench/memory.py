"""What the service holds in memory: idle, after thousands of builds, and with all it may remember.

``python -m bench.memory`` measures the last in this process and prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import threading
import time

import psutil
import structlog

from bench.journal import request
from bench.load import Load
from bench.report import Report, below
from bench.setup import cluster, resident_mib, service, wait_until_idle, worker_of
from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.pipeline.acceptance import entry_for
from lambda_builder.pipeline.live_builds import Build
from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.pool import WorkerPool
from lambda_builder.pipeline.queue import BuildQueue
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.settings import Settings

BUILDS = 2_500
REMEMBERED = 100_000
WATCHED = 10_000


def measure(report: Report) -> None:
    """Measure and print."""
    report.section("memory")
    in_service(report)
    output = subprocess.run(
        [sys.executable, "-m", "bench.memory"], capture_output=True, text=True, check=True
    ).stdout
    parts = json.loads(output)
    report.figure(
        "a full queue and the most workers",
        parts["queue_and_workers"],
        " MiB",
        digits=1,
        target=below(50, " MiB"),
    )
    report.figure(f"{REMEMBERED:,} outcomes remembered", parts["results"], " MiB", digits=1)


def in_service(report: Report) -> None:
    """Measure gunicorn's worker, with few outcomes remembered so that leaks show."""
    with cluster() as api, service(api, queue_size=BUILDS, result_max=100) as running:
        worker = worker_of(running)
        report.figure("idle", resident_mib(worker), " MiB", digits=1)
        # What the first builds take is kept for the next ones.
        levels = []
        for _ in range(3):
            Load.run(running.port, count=BUILDS)
            wait_until_idle(running)
            levels.append(resident_mib(worker))
    report.figure(f"after {BUILDS:,} builds", levels[0], " MiB", digits=1)
    report.figure(f"grown after {2 * BUILDS:,} more", levels[2] - levels[0], " MiB", digits=1)


def measure_watcher(report: Report) -> None:
    """Run the watcher's own benchmark, with fewer Jobs than it takes by default."""
    report.section(f"watching {WATCHED:,} unfinished Jobs")
    output = subprocess.run(
        [sys.executable, "-m", "bench.watcher", "--jobs", str(WATCHED)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = json.loads(output)
    report.figure("to list them all", found["list_seconds"], " s", digits=1)
    report.figure("memory for them", found["growth_mib"], " MiB", digits=1)
    worst = max(run["worst_ms"] for run in found["accepting"].values())
    report.figure("longest that accepting an event takes meanwhile", worst, " ms")


def main() -> None:
    """Print what queue and workers, and then the results, add to an empty process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings()
    process = psutil.Process()
    levels = [resident_mib(process)]
    gate = threading.Event()
    queue = full_queue(settings)
    pool: WorkerPool[Build] = WorkerPool(
        queue,
        lambda entry: True,
        lambda entry, error: None,
        minimum=settings.worker_count_max,
        maximum=settings.worker_count_max,
        may_take=lambda stopping: gate.wait() and not stopping.is_set(),
    )
    pool.start()
    while pool.size < settings.worker_count_max:
        time.sleep(0.01)
    levels.append(resident_mib(process))
    results = full_results(settings)
    gc.collect()
    levels.append(resident_mib(process))
    assert results.ended_count == REMEMBERED
    gate.set()
    queue.halt()
    pool.stop(5)
    print(
        json.dumps({"queue_and_workers": levels[1] - levels[0], "results": levels[2] - levels[1]})
    )


def full_queue(settings: Settings) -> BuildQueue[Build]:
    """Return a queue of the usual size without room."""
    queue: BuildQueue[Build] = BuildQueue(settings.queue_size)
    for number in range(settings.queue_size):
        entry: Entry[Build] = entry_for(Build(request(number)))
        queue.put(entry)
    return queue


def full_results(settings: Settings) -> ResultStore:
    """Return a store with as many outcomes as it takes."""
    results = ResultStore(ttl_seconds=settings.result_ttl_seconds, maximum=REMEMBERED)
    for number in range(REMEMBERED):
        build = request(number)
        results.put(
            BuildResult(
                request=build,
                state=BuildState.CREATED,
                attempts=1,
                job_uid=f"00000000-0000-4000-8000-{number:012}",
                namespace=settings.namespace,
                image=f"registry.example:5000/lambdas:{build.event_hash}",
                created_at=float(number),
            )
        )
    return results


if __name__ == "__main__":
    main()
