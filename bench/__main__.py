"""``python -m bench [SECTION ...]``: how fast the service is; see docs/performance.rst."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import (
    accepting,
    answering,
    creating,
    fairness,
    flat,
    limits,
    pages,
    plot,
    refusals,
    shared,
)
from bench.report import Report
from bench.setup import Scale, Stopwatch

SECTIONS: dict[str, Callable[[Report, Scale], None]] = {
    "accepting": accepting.measure,
    "answering": answering.measure,
    "creating": creating.measure,
    "flat": flat.measure,
    "fairness": fairness.measure,
    "limits": limits.measure,
    "pages": pages.measure,
    "refusals": refusals.measure,
    "shared": shared.measure,
}


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
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/bench"),
        help="where bench.json and bench.svg are written; default: %(default)s",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round: only shows that everything works"
    )
    options = parser.parse_args()
    report, watch = Report(), Stopwatch()
    report.start()
    try:
        for name in options.sections or SECTIONS:
            SECTIONS[name](report, Scale(options.disk, options.quick))
    finally:
        report.end(watch.seconds)
        options.out.mkdir(parents=True, exist_ok=True)
        report.write(options.out / "bench.json")
        if report.curves:
            plot.write(report.curves, options.out / "bench.svg")


if __name__ == "__main__":
    main()
