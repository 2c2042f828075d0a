"""``lambda-builder dev``: the service with the embedded cluster, each in a process of its own.

A development and test tool: Jobs are kept and seem to run, but nothing is built.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO, cast

GUNICORN = (
    sys.executable,
    "-m",
    "gunicorn",
    "-c",
    "python:lambda_builder.server.config",
    "lambda_builder.server.app:create_app_from_environment()",
)
_CLUSTER = "lambda_builder.devcluster"
_CLUSTER_STOP_SECONDS = 10


def has_cluster() -> bool:
    """Whether the embedded cluster is installed; the image leaves it out."""
    return importlib.util.find_spec(_CLUSTER) is not None


def run_with_cluster(
    *,
    run_seconds: float,
    pending_seconds: float,
    namespace: str,
    kubeconfig: Path | None,
    beside: Callable[[str], AbstractContextManager[Any]],
) -> int:
    """Run both until the service ends or a signal comes; returns the service's exit code.

    What ``beside`` makes of the cluster's URL is entered for as long as the service runs.
    """
    with tempfile.TemporaryDirectory(prefix="lambda-builder-") as folder:
        config = kubeconfig or Path(folder, "kubeconfig")
        cluster = subprocess.Popen(  # noqa: S603 - started by whoever types the command
            [
                *(sys.executable, "-m", _CLUSTER),
                *("--kubeconfig", str(config), "--namespace", namespace),
                *("--run-seconds", str(run_seconds), "--pending-seconds", str(pending_seconds)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C must reach the service first, which still needs it
        )
        output = cast(TextIO, cluster.stdout)
        try:
            banner = output.readline().strip()
            if not banner:
                return cluster.wait()
            sys.stdout.write(f"{banner}\nkubectl: KUBECONFIG={config}\n")
            sys.stdout.flush()
            with beside(banner.split()[-1]):
                return _run_service({**os.environ, "KUBECONFIG": str(config)}, GUNICORN)
        finally:
            cluster.terminate()
            cluster.wait(_CLUSTER_STOP_SECONDS)
            output.close()


def _run_service(environment: dict[str, str], command: Sequence[str]) -> int:
    service = subprocess.Popen(command, env=environment)  # noqa: S603 - gunicorn

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        service.send_signal(number)

    # A terminal's Ctrl-C reaches the service by itself: here it must only not end us first.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, pass_on)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        # The terminal was closed; gunicorn itself would stay.
        signal.signal(signal.SIGHUP, lambda *_: service.terminate())
    return service.wait()
