"""Load in a process of its own: ``python -m bench.load --url http://127.0.0.1:8080 --count 1000``.

Sends build events as ``lambda-builder bench`` does and prints one JSON object; see
``lambda_builder.cli.load``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Self

from lambda_builder.cli.load import Load as Sender
from lambda_builder.cli.load import Target


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run."""

    begun_at: float
    """When the first event left, in seconds since the epoch."""
    seconds: float
    accepted: int
    refused: dict[str, int]
    """By status and code."""
    unanswered: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us: float
    """Processor time of the load itself, for each event."""

    @property
    def rate(self) -> float:
        """Accepted events a second."""
        return self.accepted / self.seconds

    @property
    def not_accepted(self) -> int:
        """Events that were refused or had no answer."""
        return sum(self.refused.values()) + self.unanswered

    @classmethod
    def run(
        cls,
        url: str,
        *,
        count: int,
        rate: float = 0.0,
        connections: int = 16,
        tenants: int = 50,
        core: int | None = None,
    ) -> Self:
        """Send ``count`` events from a process of its own and return what came of it."""
        command = [
            *(sys.executable, "-m", "bench.load", "--url", url, "--count", str(count)),
            *("--rate", str(rate), "--connections", str(connections), "--tenants", str(tenants)),
            *(("--core", str(core)) if core is not None else ()),
        ]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return cls(**json.loads(output))


def requests(target: Target, count: int, tenants: int) -> list[bytes]:
    """Return the requests of new events; tenants and parsers repeat, ids never do."""
    run = f"{time.time_ns():x}"
    return [
        target.event(
            f"{run}-{number}",
            f"network.notifi.customer-{number % tenants}",
            {"parser_id": f"parser-{number % 200}", "build_args": {"N": str(number)}},
        )
        for number in range(count)
    ]


def main() -> None:
    """Send and print the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: no limit")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--core", type=int, help="the only core to run on")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    target = Target.of(options.url)
    prepared = requests(target, options.count, options.tenants)
    sender = Sender(
        target,
        prepared.__getitem__,
        count=options.count,
        rate=options.rate,
        connections=options.connections,
    )
    gc.freeze()
    gc.disable()
    used = time.process_time()
    answers = sender.run()
    used = time.process_time() - used
    load = Load(
        begun_at=answers.begun_at,
        seconds=answers.seconds,
        accepted=answers.accepted,
        refused=dict(answers.refused),
        unanswered=answers.unanswered,
        p50_ms=answers.percentile(50) * 1e3,
        p99_ms=answers.percentile(99) * 1e3,
        p999_ms=answers.percentile(99.9) * 1e3,
        cpu_us=used / options.count * 1e6,
    )
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
