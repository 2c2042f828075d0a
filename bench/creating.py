"""How fast a backlog becomes Jobs, and what one event takes from its acceptance to its end."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench.bare import THREADS, Bare
from bench.load import Load
from bench.report import Report, at_least, below
from bench.setup import (
    Scale,
    cluster,
    cpu_seconds,
    metric,
    service,
    set_latency,
    wait_until_idle,
    wait_until_jobs_ended,
    worker_of,
)
from bench.sink import Sink, sink
from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

SENDERS = 32
CPU_MS = {"in memory": 1.0, "journal on disk": 1.3}
JOBS_OF_OFFICIAL = 0.57
"""Twice what it was when this was first measured: 285 of 995 Jobs/s, by the official client."""
WORKERS = (1, 2, 5, 10, 20, 40)
API_SECONDS = 0.01
"""What the API takes for a Job where workers are compared: a write that etcd syncs takes some."""
_CALLS = "kubernetes_api_request_duration_seconds_count"
_HELD_SECONDS = 1.0
_ROOM: dict[str, Any] = {"queue_size": 1_000_000, "queue_max_bytes": 2**30}


class Life(NamedTuple):
    """What one run of whole lives took."""

    accepted: float
    """Events a second."""
    created: float
    """Jobs a second."""
    cpu_ms: float
    """Milliseconds of the processor for each, as the two figures that follow are for each."""
    api_calls: float
    posts: float


def measure(report: Report, scale: Scale) -> None:
    """Measure the bare loop and both modes in turns."""
    count = scale.of(2_000, 60)
    report.section(f"creating: a backlog of {count:,}, {THREADS} threads")
    rates, lives = defaultdict(list), defaultdict(list)
    creating: list[Bare] = []
    official: list[Bare] = []
    posting: list[Bare] = []
    pool: dict[str, Any] = {"worker_count": THREADS, "worker_count_max": THREADS, **_ROOM}
    with ExitStack() as stack:
        receiver = stack.enter_context(sink())
        bare = stack.enter_context(cluster())
        working: dict[str, tuple[ClusterProcess, ServiceProcess]] = {}
        living: dict[str, tuple[ClusterProcess, ServiceProcess]] = {}
        for name, place in scale.journals.items():
            api = stack.enter_context(cluster())
            working[name] = api, stack.enter_context(service(api, place, **pool))
            api = stack.enter_context(cluster())
            settings: dict[str, Any] = {"sink_url": receiver.url, **_ROOM}
            living[name] = api, stack.enter_context(service(api, place, **settings))
            _life(*living[name], receiver, scale.of(200, 10))
        for number in scale.rounds:
            for officially in (number % 2 == 1, number % 2 == 0):
                first = (2 * number + officially) * count
                made = Bare.creating(
                    bare.kubeconfig, first=first, count=count, officially=officially
                )
                (official if officially else creating).append(made)
                wait_until_jobs_ended(bare)
            posting.append(Bare.posting(receiver.url, count=count))
            for name, (api, running) in working.items():
                rates[name].append(_backlog(api, running, count))
            for name, (api, running) in living.items():
                lives[name].append(_life(api, running, receiver, scale.of(1_500, 40)))
    loops = {"a bare loop": creating, "a bare loop by the official client": official}
    for name, loop in loops.items():
        report.row(f"{name}: Jobs/s", [each.rate for each in loop])
        taken = [each.cpu_ms for each in loop]
        report.row(f"{name}: processor time per Job", taken, "ms", digits=2)
    for name in scale.journals:
        report.row(f"{name}: Jobs/s", rates[name])
        ratios = [rate / base.rate for rate, base in zip(rates[name], creating, strict=True)]
        report.row(f"{name}: of the bare loop", ratios, digits=2, target=at_least(0.8))
    _show_lives(report, lives, loops, posting)
    _workers(report, scale)


def _backlog(api: ClusterProcess, running: ServiceProcess, count: int) -> float:
    """Return the Jobs a second of the last nine tenths of a backlog."""
    before = running.stats()["created_total"]
    set_latency(api, _HELD_SECONDS)
    count = Load.run(running.url, count=count).accepted
    set_latency(api, 0)
    begun_at, created = 0.0, 0
    while created < count:
        created, now = running.stats()["created_total"] - before, time.perf_counter()
        if not begun_at and created >= count / 10:
            begun_at, first = now, created
        time.sleep(0.02)
    wait_until_jobs_ended(api)
    return float(count - first) / (now - begun_at)


def _life(api: ClusterProcess, running: ServiceProcess, receiver: Sink, count: int) -> Life:
    """Let so many events live."""
    worker = worker_of(running)
    ended, told = metric(running, "build_jobs_finished_total"), receiver.taken("build.complete")
    calls, posts = metric(running, _CALLS), receiver.taken("")
    used = cpu_seconds(worker)
    load = Load.run(running.url, count=count, connections=SENDERS)
    wait_until_idle(running, every=0.2)  # each look takes of what is measured
    seconds = time.time() - load.begun_at
    wait_until_jobs_ended(api)
    # An event whose answer did not come may have been accepted all the same.
    wait_until(
        lambda: receiver.taken("build.complete") - told >= load.accepted,
        "the outcomes",
        120,
        every=0.1,
    )
    built = metric(running, "build_jobs_finished_total") - ended
    assert load.accepted <= built <= count
    return Life(
        load.rate,
        built / seconds,
        (cpu_seconds(worker) - used) / built * 1e3,
        (metric(running, _CALLS) - calls) / built,
        (receiver.taken("") - posts) / built,
    )


def _show_lives(
    report: Report,
    lives: dict[str, list[Life]],
    loops: dict[str, list[Bare]],
    posting: list[Bare],
) -> None:
    creating, official = loops.values()
    report.section(
        f"a whole life: accepted, created, watched until it succeeded, told; {SENDERS} senders"
    )
    for name, found in lives.items():
        accepted, created, spent, calls, posts = zip(*found, strict=True)
        report.row(f"{name}: accepted events/s", accepted)
        report.row(f"{name}: Jobs/s, from the first event to the last Job", created)
        ratios = [rate / base.rate for rate, base in zip(created, official, strict=True)]
        target = at_least(JOBS_OF_OFFICIAL)
        report.row(f"{name}: of the official client's loop", ratios, digits=2, target=target)
        target = below(CPU_MS[name])
        report.row(f"{name}: processor time per event", spent, "ms", digits=2, target=target)
        report.row(f"{name}: calls of the API per event", calls, digits=2)
        report.row(f"{name}: calls of the sink per event", posts, digits=2)
        ratios = [
            life.cpu_ms / (life.api_calls * create.cpu_ms + life.posts * post.cpu_ms)
            for life, create, post in zip(found, creating, posting, strict=True)
        ]
        report.row(f"{name}: a whole life: of what its calls alone take", ratios, digits=2)


def _workers(report: Report, scale: Scale) -> None:
    report.section(f"throughput against workers: the API takes {API_SECONDS * 1e3:g} ms for a Job")
    points: list[tuple[float, ...]] = []
    for workers in scale.of(WORKERS, WORKERS[-1:]):
        pool: dict[str, Any] = {"worker_count": workers, "worker_count_max": workers, **_ROOM}
        with cluster() as api, service(api, scale.disk, **pool) as running:
            set_latency(api, API_SECONDS)
            count = scale.of(min(1_500, 200 * workers), 40)
            load = Load.run(running.url, count=count, connections=SENDERS)
            wait_until_idle(running)
            rate = count / (time.time() - load.begun_at)
        points.append((workers, rate))
        report.row(f"{workers} workers: Jobs/s", rate)
    report.curves["Throughput against workers|workers|Jobs/s|journal on disk"] = points
