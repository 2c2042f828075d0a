"""What creating is compared with: ``python -m bench.bare --kubeconfig PATH`` makes Jobs in a loop.

The service's client and threads against the same API, the manifests made beforehand and nothing
else around it. Prints Jobs per second.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import samples
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.credentials import load_configuration
from lambda_builder.kube.jobs import JobManager
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

THREADS = 20


def jobs_a_second(kubeconfig: Path, *, first: int, count: int) -> float:
    """Create the Jobs of builds ``first`` and so on, in a process of its own."""
    command = ["--kubeconfig", str(kubeconfig), "--first", str(first), "--count", str(count)]
    output = subprocess.run(
        [sys.executable, "-m", "bench.bare", *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return float(output)


def main() -> None:
    """Create and print the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=2_000)
    options = parser.parse_args()
    client = KubeClient(
        lambda: load_configuration(pool_size=THREADS, environ={"KUBECONFIG": options.kubeconfig}),
        timeout_seconds=60,
    )
    settings = Settings()
    jobs, template = JobManager(client, settings.namespace), JobTemplate.from_settings(settings)
    numbers = range(options.first, options.first + options.count)
    manifests = [template.render(samples.request(number)) for number in numbers]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(jobs.create_job, manifests[:THREADS]))
        begun = time.perf_counter()
        for _ in pool.map(jobs.create_job, manifests[THREADS:]):
            pass
        print((options.count - THREADS) / (time.perf_counter() - begun))
    client.close()


if __name__ == "__main__":
    main()
