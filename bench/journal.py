"""How fast the journal records: ``python -m bench.journal [--seconds 3] [directory ...]``.

Each thread records one build at a time and waits for it, as a request does. Without directories
it compares /dev/shm with the directory for temporary files.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from bench.samples import request
from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.journal import SqliteJournal

_CONCURRENCY = (1, 16)
_OPEN_ROWS = 100_000


def run(directory: Path, threads: int, seconds: float, *, attempts: bool) -> str:
    """Record for ``seconds`` with ``threads`` callers; with all that a build's life writes."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        journal = SqliteJournal(
            Path(place) / "journal.sqlite3", keep_seconds=3600, keep_max=100_000
        )
        journal.open()
        times: list[float] = []
        end = time.perf_counter() + seconds

        def call(first: int) -> None:
            number = first
            while time.perf_counter() < end:
                build = request(number)
                started = time.perf_counter()
                journal.record([build])
                times.append(time.perf_counter() - started)
                if attempts:
                    journal.attempt(build.event_hash, 1)
                    journal.finish(BuildResult(request=build, state=BuildState.CREATED))
                number += threads

        callers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        numbers = journal.stats()
        journal.close(10.0)
    times.sort()
    return (
        f"{len(times) / seconds:9,.0f} records/s   p50 {times[len(times) // 2] * 1e3:7.3f} ms   "
        f"p99 {times[len(times) * 99 // 100] * 1e3:7.3f} ms   "
        f"{len(times) / max(1, numbers['fsyncs']):5.1f} records per fsync"
    )


def big_journal(directory: Path) -> list[str]:
    """Time what depends on the number of rows, with 100,000 open ones."""
    lines = []

    def took(name: str, action: Callable[[], object], times: int = 1) -> None:
        started = time.perf_counter()
        for _ in range(times):
            action()
        lines.append(f"{name:<34}{(time.perf_counter() - started) / times * 1e3:10.3f} ms")

    with tempfile.TemporaryDirectory(dir=directory) as place:
        path = Path(place) / "journal.sqlite3"
        writer = SqliteJournal(path, keep_seconds=3600, keep_max=100_000)
        writer.open()
        for first in range(0, _OPEN_ROWS, 1000):
            writer.record([request(number) for number in range(first, first + 1000)])
        writer.close(10.0)
        journal = SqliteJournal(path, keep_seconds=3600, keep_max=100_000)
        took("open with 100,000 open rows", journal.open)
        known = request(_OPEN_ROWS // 2)
        took("find", lambda: journal.find(known.event_hash), 2000)
        took("find, unknown", lambda: journal.find("unknown"), 2000)
        took("find_by_id", lambda: journal.find_by_id(known.job_name), 2000)
        took("open_builds, 500 of them", lambda: journal.open_builds(after_seq=0, limit=500), 5)
        took("stats", journal.stats, 20)
        took("close", lambda: journal.close(10.0))
    return lines


def main() -> None:
    """Print one line per directory and concurrency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    directories = options.directories or [Path("/dev/shm"), Path(tempfile.gettempdir())]  # noqa: S108
    for directory in directories:
        for threads in _CONCURRENCY:
            for attempts in (False, True):
                what = "whole life " if attempts else "record only"
                line = run(directory, threads, options.seconds, attempts=attempts)
                print(f"{directory!s:<10} {threads:3} threads  {what} {line}")
        for line in big_journal(directory):
            print(f"{directory!s:<10} {line}")


if __name__ == "__main__":
    main()
