"""The service under gunicorn and the embedded cluster, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
BUILD_TYPE = "network.notifi.lambda.build.start"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ClusterProcess:
    """The embedded cluster; ends with the ``with`` block."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lambda_builder.devcluster"),
                *("--kubeconfig", str(self.kubeconfig)),
                *(options or ("--run-seconds", "0.2", "--pending-seconds", "0.05")),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]

    def __enter__(self) -> ClusterProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def jobs(self, namespace: str = "knative-lambda") -> list[dict[str, Any]]:
        """Return all Jobs."""
        path = f"{self.url}/apis/batch/v1/namespaces/{namespace}/jobs"
        items: list[dict[str, Any]] = requests.get(path, timeout=30).json()["items"]
        return items

    def jobs_per_event(self) -> Counter[str]:
        """Count the Jobs of each event id."""
        return Counter(
            job["metadata"]["annotations"]["build.notifi.network/event-id"] for job in self.jobs()
        )

    def add_fault(self, kind: str, **fields: Any) -> None:
        """Have the API misbehave; see ``lambda_builder.devcluster.Fault``."""
        answer = requests.post(
            f"{self.url}/devcluster/faults", json={"kind": kind, **fields}, timeout=10
        )
        answer.raise_for_status()

    def clear_faults(self) -> None:
        """Have the API behave again."""
        requests.delete(f"{self.url}/devcluster/faults", timeout=10).raise_for_status()

    def go_away(self, seconds: float) -> None:
        """Refuse every connection for so long; returns once it does."""
        answer = requests.post(
            f"{self.url}/devcluster/outage", json={"seconds": seconds}, timeout=5
        )
        answer.raise_for_status()
        wait_until(self._is_away, "the API to be away")

    def _is_away(self) -> bool:
        try:
            requests.get(f"{self.url}/version", timeout=1)
        except requests.ConnectionError:
            return True
        return False

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests that the API got."""
        answer = requests.get(f"{self.url}/devcluster/requests", timeout=10)
        found = answer.json()
        items: list[dict[str, Any]] = found["items"] if isinstance(found, dict) else found
        return items


class ServiceProcess:
    """gunicorn with the shipped configuration; killed at the end of the ``with`` block."""

    def __init__(self, kubeconfig: Path, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder / f"service-{self.port}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAMBDA_BUILDER_", "K_"))}
        self.environment = {
            **kept,
            "KUBECONFIG": str(kubeconfig),
            "PORT": str(self.port),
            "LAMBDA_BUILDER_HOST": "127.0.0.1",
            **{f"LAMBDA_BUILDER_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServiceProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    # -- life ----------------------------------------------------------------------------------

    def start(self, *, ready: bool = True) -> None:
        """Start gunicorn in a process group of its own; wait until it is ready."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if ready:
            wait_until(
                self.is_ready,
                lambda: f"the service to be ready:\n{self.log_tail()}",
                60,
                every=0.05,
            )

    def is_ready(self) -> bool:
        """Whether /ready answers with 200; fails if the process has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"the service ended:\n{self.log_tail()}"
        try:
            return requests.get(f"{self.url}/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to gunicorn's master."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill -9 the whole process group, as the kernel or the kubelet would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop every process of it for the block, as a machine that does not get to it would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def wait(self, timeout: float = 30) -> int:
        """Wait for the end; returns the exit code."""
        assert self.process is not None
        return self.process.wait(timeout)

    def terminate(self, timeout: float = 30) -> float:
        """SIGTERM, wait for the end, and return how long that took in seconds."""
        begun = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.wait(timeout) == 0, self.log_tail()
        return time.monotonic() - begun

    # -- talking -------------------------------------------------------------------------------

    def post(
        self,
        number: int | str,
        *,
        session: requests.Session | None = None,
        timeout: float = 10,
        headers: dict[str, str] | None = None,
        **data: Any,
    ) -> requests.Response:
        """Send the build event with id ``number``."""
        return (session or requests).post(
            f"{self.url}/events",
            json={"parser_id": f"parser-{number}", **data},
            headers={
                "Ce-Id": str(number),
                "Ce-Source": "network.notifi.customer",
                "Ce-Type": BUILD_TYPE,
                "Ce-Specversion": "1.0",
                **(headers or {}),
            },
            timeout=timeout,
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path."""
        return requests.get(f"{self.url}{path}", timeout=10, **options)

    def delete(self, path: str) -> requests.Response:
        """DELETE a path; cancels may wait for Kubernetes."""
        return requests.delete(f"{self.url}{path}", timeout=30)

    def stats(self) -> dict[str, Any]:
        """Return /async-jobs/stats, having checked that it adds up."""
        stats: dict[str, Any] = self.get("/async-jobs/stats").json()
        outcomes = ("created_total", "dead_total", "cancelled_total", "skipped_total")
        parts = stats["queue_size"] + stats["busy_workers"] + sum(stats[name] for name in outcomes)
        assert stats["accepted_total"] == parts, stats
        return stats

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the JSON lines of the log."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def log_tail(self) -> str:
        """Return the end of the log, for messages."""
        return self.log_path.read_text(errors="replace")[-3000:] if self.log_path.exists() else ""
