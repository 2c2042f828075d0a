"""How fast events are accepted and Jobs created, and how soon an answer comes, in each mode."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bench.load import Load
from bench.report import Report, at_least, below
from bench.setup import (
    Mode,
    Stopwatch,
    cluster,
    cpu_seconds,
    service,
    wait_until_idle,
    worker_of,
)
from tests.processes import ClusterProcess, ServiceProcess

QUEUE_SIZE = 100_000
"""So large that a burst is accepted whole."""
WARM_UP = 200
BURST = 1_500
RATES = (100, 200)
OPEN_LOOP_SECONDS = 4
ROUNDS = 3
FSYNCS = 400
FSYNC_BYTES = 20_000


@dataclass(slots=True)
class Figures:
    """What was measured of one mode, round by round."""

    answers: dict[int, Load] = field(default_factory=dict)
    job_delays: list[float] = field(default_factory=list)
    accepted_rates: list[float] = field(default_factory=list)
    job_rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    alone_rates: list[float] = field(default_factory=list)


def measure(report: Report, modes: list[Mode]) -> None:
    """Measure all modes in turns, so that what else the machine does meets each of them."""
    figures = {mode: Figures() for mode in modes}
    for number in range(ROUNDS):
        for mode, found in figures.items():
            with cluster() as api, service(api, mode, queue_size=QUEUE_SIZE) as running:
                Load.run(running.port, count=WARM_UP)
                wait_until_idle(running)
                if number == 0:
                    at_fixed_rates(running, found)
                as_fast_as_answered(api, running, found)
    show(report, figures)


def at_fixed_rates(running: ServiceProcess, found: Figures) -> None:
    """Open loop: how soon each event is answered, and how soon its Job is there."""
    seen = len(running.log_lines())
    for rate in RATES:
        count = rate * OPEN_LOOP_SECONDS
        found.answers[rate] = Load.run(running.port, count=count, rate=rate)
        wait_until_idle(running)
    queued: dict[str, float] = {}
    for line in running.log_lines()[seen:]:
        if line["event"] == "build_state":
            moment = datetime.fromisoformat(line["timestamp"]).timestamp()
            if line["state"] == "queued":
                queued[line["job_name"]] = moment
            elif line["state"] == "created":
                found.job_delays.append(moment - queued[line["job_name"]])


def as_fast_as_answered(api: ClusterProcess, running: ServiceProcess, found: Figures) -> None:
    """Closed loop: a burst while Jobs are created, then one while the API hangs."""
    worker = worker_of(running)
    used = cpu_seconds(worker)
    load = Load.run(running.port, count=BURST)
    wait_until_idle(running)
    assert load.refused == 0
    found.accepted_rates.append(load.rate)
    found.job_rates.append(BURST / (time.time() - load.begun))
    found.cpu_ms.append((cpu_seconds(worker) - used) / BURST * 1e3)
    api.add_fault("hang", verb="create", resource="jobs")
    found.alone_rates.append(Load.run(running.port, count=BURST).rate)


def show(report: Report, figures: dict[Mode, Figures]) -> None:
    """Print the medians, and each mode in proportion to the first, which has no journal."""
    medians = statistics.median
    first = next(iter(figures.values()))
    for mode, found in figures.items():
        report.section(mode.name)
        for rate, load in found.answers.items():
            limit = 25 if rate == RATES[-1] else 100
            report.figure(f"answer at {rate} events/s, p50", load.p50_ms, " ms", digits=1)
            report.figure(
                f"answer at {rate} events/s, p99",
                load.p99_ms,
                " ms",
                digits=1,
                target=below(limit, " ms"),
            )
        report.figure(
            "from an event to its Job, the slowest",
            max(found.job_delays) * 1e3,
            " ms",
            target=below(5000, " ms"),
        )
        report.figure("accepted events/s, Jobs being created", medians(found.accepted_rates))
        report.figure("accepted events/s, no Jobs being created", medians(found.alone_rates))
        report.figure(
            "Jobs/s, from the first event to the last Job",
            medians(found.job_rates),
            target=at_least(100),
        )
        report.figure("processor time per event and Job", medians(found.cpu_ms), " ms", digits=2)
        if mode.place is not None:
            compare(report, mode.place, found, first)


def compare(report: Report, place: Path, found: Figures, first: Figures) -> None:
    """Print the ratios to no journal, and what the place itself can do."""
    ratio = statistics.median(found.alone_rates) / statistics.median(first.alone_rates)
    report.figure(
        "accepted to journal off, no Jobs being created", ratio, digits=2, target=at_least(0.7)
    )
    ratio = statistics.median(found.accepted_rates) / statistics.median(first.accepted_rates)
    report.figure("accepted to journal off, Jobs being created", ratio, digits=2)
    report.figure("a bare write and fsync there, p99", bare_fsync_p99(place), " ms", digits=1)


def bare_fsync_p99(place: Path) -> float:
    """Return the milliseconds that a write of the usual size takes to reach the disk."""
    times = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(FSYNCS):
            watch = Stopwatch()
            file.write(b"x" * FSYNC_BYTES)
            file.flush()
            os.fsync(file.fileno())
            times.append(watch.seconds * 1e3)
    return sorted(times)[FSYNCS * 99 // 100]
