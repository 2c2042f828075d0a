"""How soon an answer comes while Jobs are created, at fixed rates, and that nothing is lost.

A latency runs from the time an event was due, whatever answers came before.
"""

from __future__ import annotations

from typing import Any

from bench.load import Load
from bench.report import Report, at_most, below
from bench.setup import Scale, cluster, jobs_summary, service, wait_until_idle
from tests.processes import ClusterProcess, ServiceProcess

OFFERED = (50, 100, 200, 400, 600, 800, 1_000)
BURST = 2_000
MANY_CONNECTIONS = 64


def measure(report: Report, scale: Scale) -> None:
    """Measure with the journal on disk and a queue that is large enough."""
    room: dict[str, Any] = {"queue_size": 1_000_000, "queue_max_bytes": 2**30}
    with cluster() as api, service(api, scale.disk, **room) as running:
        Load.run(running.url, count=scale.of(300, 10))
        wait_until_idle(running)
        _at_200(report, scale, running)
        _burst(report, scale, api, running)
        _curve(report, scale, running)
    with cluster() as api, service(api, scale.disk, **room) as running:
        _sustained(report, scale, api, running)


def _at_200(report: Report, scale: Scale, running: ServiceProcess) -> None:
    report.section("answering: 200 events/s, journal on disk, Jobs being created")
    loads = [Load.run(running.url, count=scale.of(2_000, 40), rate=200.0) for _ in scale.rounds]
    report.row("p50", [load.p50_ms for load in loads], "ms", digits=1, target=below(3))
    report.row("p99", [load.p99_ms for load in loads], "ms", digits=1, target=below(12))
    report.row("p99.9", [load.p999_ms for load in loads], "ms", digits=1, target=below(40))
    report.row("refused", sum(load.not_accepted for load in loads), target=at_most(0))
    wait_until_idle(running)


def _burst(report: Report, scale: Scale, api: ClusterProcess, running: ServiceProcess) -> None:
    count = scale.of(BURST, 40)
    report.section(f"answering: a burst of {count:,} in a second, journal on disk")
    before, loads = jobs_summary(api)["total"], []
    for _ in scale.rounds:
        loads.append(Load.run(running.url, count=count, rate=count, connections=MANY_CONNECTIONS))
        wait_until_idle(running)
    report.row("p50", [load.p50_ms for load in loads], "ms", digits=1)
    report.row("p99", [load.p99_ms for load in loads], "ms", digits=1, target=below(200))
    _nothing_lost(report, loads, jobs_summary(api)["total"] - before)


def _sustained(report: Report, scale: Scale, api: ClusterProcess, running: ServiceProcess) -> None:
    seconds = scale.of(120, 0.1)
    report.section(f"answering: 500 events/s for {seconds:g} s, journal on disk")
    load = Load.run(running.url, count=int(500 * seconds), rate=500.0, connections=MANY_CONNECTIONS)
    report.row("p50", load.p50_ms, "ms", digits=1)
    report.row("p99", load.p99_ms, "ms", digits=1)
    wait_until_idle(running)
    _nothing_lost(report, [load], jobs_summary(api)["total"])


def _nothing_lost(report: Report, loads: list[Load], jobs: int) -> None:
    accepted = sum(load.accepted for load in loads)
    report.row("refused", sum(load.not_accepted for load in loads), target=at_most(0))
    report.row("accepted without a Job", accepted - jobs, target=at_most(0))


def _curve(report: Report, scale: Scale, running: ServiceProcess) -> None:
    report.section("answering: latency against offered load, journal on disk, Jobs being created")
    curves: dict[str, list[tuple[float, ...]]] = {"p50": [], "p99": []}
    for rate in scale.of(OFFERED, OFFERED[:2]):
        count = int(rate * scale.of(4, 0.2))
        load = Load.run(running.url, count=count, rate=rate, connections=MANY_CONNECTIONS)
        curves["p50"].append((rate, load.p50_ms))
        curves["p99"].append((rate, load.p99_ms))
        report.row(f"p99 at {rate:,} events/s", load.p99_ms, "ms", digits=1)
        wait_until_idle(running)
    for name, points in curves.items():
        report.curves[f"Latency against offered load|events/s|ms|{name}"] = points
