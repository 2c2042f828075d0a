"""``python -m bench``: every benchmark, some three minutes; see docs/benchmarks.rst."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import lifecycle, listing, memory, throughput
from bench.report import Report
from bench.setup import Stopwatch, modes

SECTIONS = ("throughput", "lifecycle", "memory", "watcher", "listing", "journal")


def main() -> None:
    """Run what was asked for; a missed target is printed and is no failure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: all")
    parser.add_argument(
        "--disk",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="a directory that is on a disk; default: %(default)s",
    )
    options = parser.parse_args()
    wanted = options.sections or SECTIONS
    report, watch = Report(), Stopwatch()
    report.start()
    if "throughput" in wanted:
        throughput.measure(report, modes(options.disk))
    if "lifecycle" in wanted:
        lifecycle.measure(report, options.disk)
    if "memory" in wanted:
        memory.measure(report)
    if "watcher" in wanted:
        memory.measure_watcher(report)
    if "listing" in wanted:
        listing.measure(report)
    if "journal" in wanted:
        journal_alone(report, options.disk)
    report.end(watch.seconds)


def journal_alone(report: Report, disk: Path) -> None:
    """Run the journal's own benchmark, with nothing of the service around it."""
    report.section("the journal alone")
    places = [str(mode.place) for mode in modes(disk) if mode.place is not None]
    subprocess.run([sys.executable, "-m", "bench.journal", "--seconds", "0.5", *places], check=True)


if __name__ == "__main__":
    main()
