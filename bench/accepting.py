"""How many events are accepted, in proportion to an empty Flask view, and on one core."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field

import psutil

from bench.load import Load
from bench.report import Report, at_least, at_most
from bench.setup import (
    Scale,
    cluster,
    cpu_seconds,
    empty_view,
    pin,
    service,
    set_latency,
    worker_of,
)
from tests.processes import ClusterProcess, ServiceProcess

WORKERS = 10
JOBS_A_SECOND = 100
SLOW = 2.0
"""Seconds a Job takes where none should be created: what is left is five a second."""
WANTED = {"in memory": 0.75, "journal on disk": 0.65}


@dataclass(frozen=True, slots=True)
class _Subject:
    """A service with a cluster of its own, and what was measured of it round by round."""

    api: ClusterProcess
    running: ServiceProcess
    worker: psutil.Process
    found: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def alone(self, count: int) -> None:
        used = cpu_seconds(self.worker)
        load = Load.run(self.running.url, count=count)
        self.found["cpu"].append((cpu_seconds(self.worker) - used) / count * 1e3)
        self.found["rate"].append(load.rate)
        self.found["refused"].append(load.not_accepted)

    def while_creating(self, count: int) -> None:
        set_latency(self.api, WORKERS / JOBS_A_SECOND)
        # Until the last of the slow ones is made, fewer are under way.
        Load.run(self.running.url, count=int(JOBS_A_SECOND * SLOW), rate=JOBS_A_SECOND)
        created = self.running.stats()["created_total"]
        load = Load.run(self.running.url, count=count)
        created = self.running.stats()["created_total"] - created
        self.found["creating"].append(load.rate)
        self.found["created"].append(created / load.seconds)
        set_latency(self.api, SLOW)


def measure(report: Report, scale: Scale) -> None:
    """Measure all in turns, so that what else the machine does meets each of them."""
    report.section("accepting: 16 connections, each sends as soon as it is answered")
    count = scale.of(1_500, 40)
    rates, cpu, load_cpu = [], [], []
    with ExitStack() as stack:
        url, worker = stack.enter_context(empty_view())
        subjects = {name: _subject(stack, scale, name) for name in scale.journals}
        for one in subjects.values():
            Load.run(one.running.url, count=scale.of(300, 10))
        for _ in scale.rounds:
            used = cpu_seconds(worker)
            load = Load.run(url, count=count)
            cpu.append((cpu_seconds(worker) - used) / count * 1e3)
            rates.append(load.rate)
            load_cpu.append(load.cpu_us)
            for one in subjects.values():
                one.alone(count)
            for one in subjects.values():
                # Long enough for more than a burst, in which hardly any are created.
                one.while_creating(4 * count)
        report.row("empty view: requests/s", rates)
        report.row("empty view: processor time", cpu, "ms", digits=2)
        report.row("load: most it could send, requests/s", [1e6 / spent for spent in load_cpu])
        for name, one in subjects.items():
            _show(report, name, one.found, rates)
        _pinned(report, scale, subjects["journal on disk"], url, worker)


def _subject(stack: ExitStack, scale: Scale, name: str) -> _Subject:
    api = stack.enter_context(cluster())
    set_latency(api, SLOW)
    running = stack.enter_context(
        service(
            api,
            scale.journals[name],
            queue_size=1_000_000,
            queue_max_bytes=2**30,
            worker_count=WORKERS,
            worker_count_max=WORKERS,
        )
    )
    return _Subject(api, running, worker_of(running))


def _show(report: Report, name: str, found: dict[str, list[float]], empty: list[float]) -> None:
    report.row(f"{name}: events/s", found["rate"])
    report.row(f"{name}: processor time per event", found["cpu"], "ms", digits=2)
    ratios = [rate / base for rate, base in zip(found["rate"], empty, strict=True)]
    target = at_least(WANTED[name])
    report.row(f"{name}: of the empty view", ratios, digits=2, target=target)
    report.row(f"{name}: events/s while Jobs are created", found["creating"])
    report.row(f"{name}: Jobs/s created meanwhile", found["created"])
    pairs = zip(found["creating"], found["rate"], strict=True)
    ratios = [busy / alone for busy, alone in pairs]
    report.row(f"{name}: of that without", ratios, digits=2, target=at_least(0.6))
    report.row(f"{name}: refused", sum(found["refused"]), target=at_most(0))


def _pinned(
    report: Report, scale: Scale, subject: _Subject, empty_url: str, empty: psutil.Process
) -> None:
    """The service, and then the empty view, on one core, API and load on another."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return
    api = [p for p in psutil.Process().children() if "lambda_builder.devcluster" in p.cmdline()]
    for process in (subject.worker, empty):
        pin(process, cores[0])
    for process in api:
        pin(process, cores[1])
    rates, empty_rates, count = [], [], scale.of(1_500, 40)
    for _ in scale.rounds:
        empty_rates.append(Load.run(empty_url, count=count, core=cores[1]).rate)
        rates.append(Load.run(subject.running.url, count=count, core=cores[1]).rate)
    report.row("empty view: requests/s on one core", empty_rates)
    report.row("journal on disk: events/s on one core", rates, target=at_least(1_000))
