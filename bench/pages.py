"""What the operations page weighs, how soon lists come, and what many open pages cost."""

from __future__ import annotations

import re
import statistics
import time
from urllib.parse import urljoin

import requests

from bench.load import Load
from bench.readers import readers
from bench.report import Report, at_least, below
from bench.setup import Scale, cluster, service, set_latency, wait_until_idle
from tests.processes import ServiceProcess

OPEN_PAGES = 200
STREAMS = 4
KIB = 1024
_LINKED = re.compile(r'(?:src|href)="([^"]+\.(?:js|css|svg)[^"]*)"')
_LISTS = {
    "list: first page": "/async-jobs?limit=50",
    "list: one tenant": "/async-jobs?limit=50&third_party_id=bench-7",
    "list: a text that only one build has": "/async-jobs?limit=50&q=nowhere-to-be-found",
    "page: the newest builds": "/",
}


def measure(report: Report, scale: Scale) -> None:
    """Measure in memory, with Jobs that are hardly made meanwhile."""
    with cluster() as api, service(api, queue_size=1_000_000) as running:
        Load.run(running.url, count=scale.of(2_000, 20))
        wait_until_idle(running)
        report.section(f"pages: with {scale.of(2_000, 20):,} builds")
        _weight(report, running)
        _lists(report, scale, running)
        set_latency(api, 2.0)
        _open_pages(report, scale, running)
        set_latency(api, 0.0)


def _weight(report: Report, running: ServiceProcess) -> None:
    page = running.get("/", headers={"Accept": "text/html"}).text
    linked = sorted(set(_LINKED.findall(page)))
    sizes = [len(requests.get(urljoin(running.url, link), timeout=10).content) for link in linked]
    report.row("scripts, styles and icon", sum(sizes) / KIB, "KiB", digits=1, target=below(60))
    report.row("the page itself", len(page.encode()) / KIB, "KiB", digits=1)


def _lists(report: Report, scale: Scale, running: ServiceProcess) -> None:
    with requests.Session() as session:
        for name, path in _LISTS.items():
            headers = {"Accept": "text/html" if path == "/" else "application/json"}
            times = []
            for _ in range(scale.of(20, 2)):
                begun = time.perf_counter()
                session.get(running.url + path, headers=headers, timeout=30).raise_for_status()
                times.append((time.perf_counter() - begun) * 1e3)
            report.row(name, statistics.median(times), "ms", digits=1, target=below(100))


def _open_pages(report: Report, scale: Scale, running: ServiceProcess) -> None:
    pages = scale.of(OPEN_PAGES, 8)
    report.section(f"pages: {pages} open, {STREAMS} of them on streams, the others asking")
    count, alone, beside = scale.of(1_500, 40), [], []
    for _ in scale.rounds:
        alone.append(Load.run(running.url, count=count).rate)
        with readers(running.url, pages, STREAMS):
            beside.append(Load.run(running.url, count=count).rate)
    report.row("accepted, events/s", alone)
    report.row("accepted while they are open, events/s", beside)
    shares = [with_them / without for with_them, without in zip(beside, alone, strict=True)]
    report.row("of that without", shares, digits=2, target=at_least(0.95))
