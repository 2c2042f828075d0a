"""``python -m lambda_builder.devcluster``: the development cluster as its own process."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import threading

from lambda_builder.devcluster.cluster import DevCluster

BANNER = "devcluster (development and test only, nothing is built)"


def main() -> None:
    """Serve until SIGTERM or SIGINT; one line with the URL is printed once it is ready."""
    options = _parser().parse_args()
    # Tens of thousands of objects live long here and hardly any are in cycles: a full collection
    # would stop the server for half a second and find nothing.
    gc.set_threshold(20_000, 1_000, 1_000)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    cluster = DevCluster(
        port=options.port,
        namespaces=options.namespace or ("knative-lambda",),
        run_seconds=options.run_seconds,
        pending_seconds=options.pending_seconds,
        job_quota=options.job_quota,
        token=options.token,
        host=options.host,
    )
    with cluster:
        if options.kubeconfig:
            cluster.write_kubeconfig(options.kubeconfig)
        sys.stdout.write(f"{BANNER}: {cluster.url}\n")
        sys.stdout.flush()
        stopping.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lambda_builder.devcluster",
        description="An embedded Kubernetes API for development and tests. Nothing is built.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--kubeconfig", help="write a kubeconfig to this path")
    parser.add_argument("--namespace", action="append", help="may be given more than once")
    parser.add_argument("--run-seconds", type=float, default=5.0, help="how long a build runs")
    parser.add_argument("--pending-seconds", type=float, default=1.0, help="how long a pod waits")
    parser.add_argument("--job-quota", type=int, help="Jobs a namespace may hold")
    parser.add_argument("--token", help="bearer token clients must show")
    return parser


if __name__ == "__main__":
    main()
