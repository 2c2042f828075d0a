"""That a tenant which floods the queue delays another by little, and ``low`` is reached."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from bench.load import Load
from bench.report import Report, at_most
from bench.setup import Scale, cluster, service, set_latency
from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.queue import BuildQueue
from tests.processes import ServiceProcess
from tests.waiting import wait_until

WORKERS = 5
API_SECONDS = 0.1
"""So that workers make 50 Jobs/s: with two tenants the share of each is 25."""
SHARE = WORKERS / API_SECONDS / 2
FLOOD = 20
LOW_BOUND_SECONDS = 300
_PRIORITIES = {"high": 0, "normal": 1, "low": 2}


def measure(report: Report, scale: Scale) -> None:
    """Measure a tenant's waits alone, and beside another that floods."""
    report.section(
        f"fairness: 1 event/s of one tenant; {WORKERS} workers make {2 * SHARE:g} Jobs/s"
    )
    seconds = scale.of(30, 1)
    settings: dict[str, Any] = {
        "worker_count": WORKERS,
        "worker_count_max": WORKERS,
        "queue_discipline": "fair",
        "queue_size": 1_000_000,
        "queue_max_bytes": 2**30,
    }
    waits = {}
    for name, rate in (("alone", 0.0), ("flood", FLOOD * SHARE)):
        with cluster() as api, service(api, **settings) as running:
            set_latency(api, API_SECONDS)
            waits[name] = _waits(running, name, seconds, rate)
    report.row("alone: longest wait in the queue", max(waits["alone"]), "ms", digits=1)
    report.row(f"beside one at {FLOOD} times its share", max(waits["flood"]), "ms", digits=1)
    # A worker that is free takes a build at once; one that is not ends its call first.
    ratio = max(waits["flood"]) / (max(waits["alone"]) + API_SECONDS * 1e3)
    report.row("flood to alone, with one call of the API", ratio, digits=1, target=at_most(3))
    reached = seconds_until_low()
    report.row("`low` under endless `high`", reached, "s", target=at_most(LOW_BOUND_SECONDS))


def _waits(running: ServiceProcess, name: str, seconds: int, rate: float) -> list[float]:
    """Return how long each event of the quiet tenant waited in the queue, in milliseconds."""
    with ThreadPoolExecutor(1) as beside:
        if rate:
            count = int(rate * (seconds + 1))
            flooding = beside.submit(Load.run, running.url, count=count, rate=rate, tenants=1)
            wait_until(lambda: running.stats()["busy_workers"] > 0, "the others' builds", 30)
        for number in range(seconds):
            assert running.post(f"{name}-{number}", third_party_id="quiet").status_code == 200
            threading.Event().wait(1.0)
        last = f"/async-jobs/{name}-{seconds - 1}"
        wait_until(lambda: running.get(last).json()["created_at"], "its last Job", 60, every=0.2)
        if rate:
            flooding.result()
    return _queue_waits(running)


def _queue_waits(running: ServiceProcess) -> list[float]:
    queued: dict[str, float] = {}
    found = []
    for text in running.log_path.read_text().splitlines():
        if '"quiet"' in text and '"build_state"' in text:
            line = json.loads(text)
            moment = datetime.fromisoformat(line["timestamp"]).timestamp()
            if line["state"] == "queued":
                queued[line["job_name"]] = moment
            elif line["state"] == "creating":
                found.append((moment - queued[line["job_name"]]) * 1e3)
    return found


def seconds_until_low() -> float:
    """Return when one of low priority leaves a queue that is always full of high ones.

    On a clock of its own: one arrives and one leaves each second.
    """
    now = 0.0
    queue: BuildQueue[str] = BuildQueue(10_000, clock=lambda: now)
    queue.put(Entry("low", "low", _PRIORITIES["low"]))
    queue.put(Entry("0", "high", _PRIORITIES["high"]))
    while (entry := queue.get(block=False)).item != "low":
        queue.finish(entry, "created")
        now += 1.0
        queue.put(Entry(str(now), "high", _PRIORITIES["high"]))
    return now
