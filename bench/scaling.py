"""Where events wait when there are many, and why: ``python -m bench.scaling`` prints a table.

A model in steps of a second, with rates that are assumed, not measured here; docs/scaling.rst says
where each is from and what follows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

EVENTS_A_SECOND = 100
SECONDS = 600
"""Events come for so long, then no more."""
BUILD_SECONDS = 60
POD_ROOM = 20_000
"""Builds that all nodes together can run at a time: more than enough."""
JOB_KIB = 25
"""In etcd: a Job of three containers, its pod and their events."""
WORKLOAD_KIB = 5
"""In etcd, with Kueue."""
JOB_WRITES = 15
"""Of a Job's life: itself, its pod, their statuses, finalizers, events and deletion."""
WORKLOAD_WRITES = 5
ETCD_WRITES_A_SECOND = 3_000
BROKER_SECONDS = 205
"""Ten tries, 0.2 s doubled each time: then the broker gives an event up."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to run the service; rates are per second."""

    name: str
    created: int = 250
    """Jobs, by one replica."""
    started: int = 40
    """Pods, by one cluster's Job controller."""
    replicas: int = 1
    clusters: int = 1
    queue_size: int = 100
    """Of one replica."""
    active_jobs: int = 0
    """Most unfinished Jobs; 0 is no cap."""
    kept_seconds: int = 86_400
    """``ttlSecondsAfterFinished``: ended Jobs stay in etcd for so long."""
    kueue: bool = False
    shared_etcd: bool = True
    """Whether every Job passes through one cluster's etcd, however many clusters run them."""


DEFAULT = Setup("as installed")
HELD = replace(DEFAULT, name="cap 3,000 Jobs, queue 100,000", active_jobs=3_000, queue_size=100_000)
SWEPT = replace(HELD, name="the same, ended Jobs kept 5 min", kept_seconds=300)
FAST = replace(SWEPT, name="and 100 pods/s, cap 8,000", started=100, active_jobs=8_000)
SETUPS = (
    DEFAULT,
    replace(DEFAULT, name="creating twice as fast", created=500),
    replace(DEFAULT, name="three replicas", replicas=3),
    replace(DEFAULT, name="Kueue", kueue=True),
    replace(DEFAULT, name="cap 3,000 Jobs, queue 100", active_jobs=3_000),
    HELD,
    SWEPT,
    FAST,
    replace(SWEPT, name="and 100 pods/s, cap 3,000", started=100),
    replace(DEFAULT, name="MultiKueue, three clusters", kueue=True, clusters=3),
    replace(
        FAST, name="three clusters, tenants divided", started=40, clusters=3, shared_etcd=False
    ),
)


@dataclass(slots=True)
class Outcome:
    """What became of the events; the most of each at any time."""

    in_queue: int = 0
    in_etcd: int = 0
    """Jobs without a pod."""
    etcd_mib: float = 0.0
    writes: int = 0
    """Per second, to one etcd."""
    given_up: int = 0
    minutes: float = 0.0
    """Until the last pod started."""


def simulate(setup: Setup) -> Outcome:
    """Let all events come, and go on until every pod that will start has."""
    found = Outcome()
    broker: deque[list[int]] = deque()  # when they came, and how many are left
    runs: deque[tuple[int, int]] = deque()  # when they end, and how many
    kept: deque[tuple[int, int]] = deque()
    queued = pending = running = ended = now = 0
    writes_of_one = JOB_WRITES + (WORKLOAD_WRITES if setup.kueue else 0)
    kib = JOB_KIB + (WORKLOAD_KIB if setup.kueue else 0)
    etcds = 1 if setup.shared_etcd else setup.clusters
    while now < SECONDS or broker or queued or pending:
        if now < SECONDS:
            broker.append([now, EVENTS_A_SECOND])
        while broker and now - broker[0][0] > BROKER_SECONDS:
            found.given_up += broker.popleft()[1]
        queued += _take(broker, setup.queue_size * setup.replicas - queued)
        room = setup.active_jobs - pending - running if setup.active_jobs else queued
        most = min(setup.created * setup.replicas, ETCD_WRITES_A_SECOND * etcds // writes_of_one)
        made = max(0, min(queued, most, room))
        queued, pending = queued - made, pending + made
        begun = min(pending, setup.started * setup.clusters, POD_ROOM - running)
        pending, running = pending - begun, running + begun
        runs.append((now + BUILD_SECONDS, begun))
        while runs and runs[0][0] <= now:
            over = runs.popleft()[1]
            running, ended = running - over, ended + over
            kept.append((now + setup.kept_seconds, over))
        while kept and kept[0][0] <= now:
            ended -= kept.popleft()[1]
        found.in_queue = max(found.in_queue, queued)
        found.in_etcd = max(found.in_etcd, pending)
        found.etcd_mib = max(found.etcd_mib, (pending + running + ended) * kib / 1024 / etcds)
        found.writes = max(found.writes, max(made, begun) * writes_of_one // etcds)
        now += 1
    found.minutes = now / 60
    return found


def _take(broker: deque[list[int]], room: int) -> int:
    """Accept the oldest events for which there is room."""
    taken = 0
    while broker and taken < room:
        number = min(broker[0][1], room - taken)
        taken += number
        broker[0][1] -= number
        if not broker[0][1]:
            broker.popleft()
    return taken


def table() -> list[str]:
    """Return what ``main`` prints."""
    heads = "in queue", "in etcd", "MiB", "writes/s", "given up", "minutes"
    lines = [f"{'':<36}" + "".join(f"{head:>10}" for head in heads)]
    for setup in SETUPS:
        found = simulate(setup)
        figures = (
            *(f"{found.in_queue:,}", f"{found.in_etcd:,}", f"{found.etcd_mib:,.0f}"),
            *(f"{found.writes:,}", f"{found.given_up:,}", f"{found.minutes:.0f}"),
        )
        lines.append(f"{setup.name:<36}" + "".join(f"{figure:>10}" for figure in figures))
    return lines


def main() -> None:
    """Print the table."""
    print("\n".join(table()))


if __name__ == "__main__":
    main()
