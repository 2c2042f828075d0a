"""``python -m tests.fuzz.api [--requests N]``: what the API does is what its description says.

Schemathesis makes requests from the service's own description, good and hostile ones, and compares
the answers with it; none may be a 5xx but where that is described. Afterwards the service must
still build: no worker is stuck, none has died.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.processes import ClusterProcess, ServiceProcess
from tests.waiting import wait_until

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
METHODS = {"get", "post", "delete", "put", "patch", "head", "options"}


def main() -> None:
    """Run it; ends with 1 where an answer is another than described."""
    parser = argparse.ArgumentParser(description="Send what the API's description leads to.")
    parser.add_argument("--requests", type=int, default=5000, help="at least, about")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            ClusterProcess(folder) as cluster,
            ServiceProcess(
                cluster.kubeconfig, folder, queue_size=100_000, streams_max=64
            ) as service,
        ):
            ended = compare(
                service,
                folder,
                phases="examples,coverage,fuzzing,stateful",
                examples=-(-arguments.requests // count_operations(service)),
                seed=arguments.seed,
            )
            check_that_it_still_builds(cluster, service)
    sys.exit(ended.returncode)


def compare(
    service: ServiceProcess,
    folder: Path,
    *,
    phases: str,
    examples: int,
    seed: int = 1,
    capture: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with so many requests at most for each operation, and more for coverage."""
    return subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", CONFIGURATION),
            *("run", f"{service.url}/openapi.json", "--continue-on-failure", "--no-color"),
            *("--phases", phases, "--mode", "all", "--no-shrink"),
            *("--max-examples", str(examples), "--seed", str(seed)),
            *("--request-timeout", "20", "--suppress-health-check", "all"),
        ],
        cwd=folder,
        check=False,
        capture_output=capture,
        text=True,
    )


def count_operations(service: ServiceProcess) -> int:
    described = json.loads(service.get("/openapi.json").content)
    return sum(len(METHODS & path.keys()) for path in described["paths"].values())


def check_that_it_still_builds(cluster: ClusterProcess, service: ServiceProcess) -> None:
    wait_until(lambda: service.stats()["queue_size"] == 0, "the queue to drain", 120)
    assert service.post("afterwards").status_code == 200
    wait_until(lambda: cluster.jobs_per_event()["afterwards"] == 1, "a Job afterwards", 30)
    stats = service.stats()
    assert (stats["dead_total"], stats["panics_total"]) == (0, 0), stats
    assert stats["worker_count"] >= 5, stats
    log = service.log_path.read_text(errors="replace")
    assert "Traceback" not in log, log[-3000:]
    assert '"exception"' not in log


if __name__ == "__main__":
    main()
