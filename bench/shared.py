"""How many events are accepted with a journal in a file, and in a database that replicas share."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from bench.load import Load
from bench.report import Report, at_least, at_most
from bench.setup import Scale, cluster, cpu_seconds, service, set_latency, worker_of
from tests.postgres_server import PostgresServer, running
from tests.processes import ServiceProcess
from tests.waiting import wait_until

SLOW = 2.0
"""Seconds a Job takes, so that hardly any is made meanwhile."""
FILE, ONE, TWO = "a file", "a database, one replica", "a database, two replicas"


def measure(report: Report, scale: Scale) -> None:
    """Measure the three in turns; the database, the load and the replicas share the machine."""
    report.section("a shared journal: 16 connections for each replica, as soon as answered")
    count = scale.of(1_500, 40)
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    refused = 0
    with ExitStack() as stack:
        database = stack.enter_context(running())
        subjects = {
            FILE: _services(stack, 1, scale.disk),
            ONE: _services(stack, 1, url=database.url(database.new_database())),
            TWO: _services(stack, 2, url=database.url(database.new_database())),
        }
        for services in subjects.values():
            _load(services, scale.of(300, 10))
        for _ in scale.rounds:
            for name, services in subjects.items():
                workers = [worker_of(each) for each in services]
                used = _spent(workers)
                loads = _load(services, count)
                cpu[name].append((_spent(workers) - used) / (count * len(services)) * 1e3)
                rates[name].append(sum(load.rate for load in loads))
                refused += sum(load.not_accepted for load in loads)
        for name in subjects:
            report.row(f"{name}: events/s", rates[name])
            report.row(f"{name}: the replicas' processor time per event", cpu[name], "ms", digits=2)
        _ratio(report, "one replica: of a file's", rates[ONE], rates[FILE], 0.7)
        _ratio(report, "two replicas: of one's", rates[TWO], rates[ONE], 1.6)
        refused += _restarts(report, scale, database, subjects[ONE])
    report.row("refused", refused, target=at_most(0))


def _restarts(
    report: Report, scale: Scale, database: PostgresServer, services: list[ServiceProcess]
) -> int:
    """Measure before, between and after restarts of the database; returns how many were refused.

    A restart makes a checkpoint, after which each page that is written to goes into the log whole:
    so there is one before the others as well. What follows a restart is held to the mean of what is
    measured before and after it.
    """
    count, warm = scale.of(1_000, 40), scale.of(300, 10)
    workers = [worker_of(each) for each in services]
    loads: list[Load] = []
    cpu: list[float] = []
    for turn in range(scale.of(41, 3)):
        if turn % 2:
            database.restart()
            for each in services:
                # Not one that is known already, which is answered without the database.
                wait_until(
                    lambda one=each, new=f"restart-{turn}": one.post(new).ok,  # type: ignore[misc]
                    "events to be taken",
                )
        else:
            database.execute("CHECKPOINT")
        _load(services, warm)
        used = _spent(workers)
        loads += _load(services, count)
        cpu.append(_spent(workers) - used)
    rates = [load.rate for load in loads]
    report.row(f"{ONE}: events/s after a restart", rates[1::2])
    _ratio(report, "after a restart: of that before", rates[1::2], _around(rates), 0.98)
    shares = [spent / other for spent, other in zip(cpu[1::2], _around(cpu), strict=True)]
    report.row("after a restart: processor time of that before", shares, digits=2)
    return sum(load.not_accepted for load in loads)


def _around(values: list[float]) -> list[float]:
    """Return the means of what stands before and after every other value."""
    return [sum(pair) / 2 for pair in zip(values[:-2:2], values[2::2], strict=True)]


def _services(
    stack: ExitStack, replicas: int, disk: Path | None = None, *, url: str = ""
) -> list[ServiceProcess]:
    settings: dict[str, Any] = {"queue_size": 1_000_000, "queue_max_bytes": 2**30}
    if url:
        settings["journal_url"] = url
    api = stack.enter_context(cluster())
    set_latency(api, SLOW)
    return [stack.enter_context(service(api, disk, **settings)) for _ in range(replicas)]


def _load(services: list[ServiceProcess], count: int) -> list[Load]:
    with ThreadPoolExecutor(len(services)) as pool:
        return [*pool.map(lambda each: Load.run(each.url, count=count), services)]


def _spent(workers: list[psutil.Process]) -> float:
    return sum(map(cpu_seconds, workers))


def _ratio(
    report: Report, name: str, rates: list[float], others: list[float], least: float
) -> None:
    shares = [rate / other for rate, other in zip(rates, others, strict=True)]
    report.row(name, shares, digits=2, target=at_least(least))
