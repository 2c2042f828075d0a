"""The whole service in this process, against an embedded cluster over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.devcluster import DevCluster
from lambda_builder.service import Service
from lambda_builder.settings import Settings
from lambda_builder.web.services import EXTENSION, Services
from lambda_builder.wiring import SERVICE, create_app
from tests.waiting import wait_until

TYPE = "network.notifi.lambda.build.start"
BUILT = (BuildState.CREATED, BuildState.RUNNING)
"""What a build with a Job is, until the Job ends."""


class Running:
    """A started service, its HTTP client, and shortcuts to look at it."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.service: Service = self.app.extensions[SERVICE]
        self.http = self.app.test_client()
        self.services: Services = self.app.extensions[EXTENSION]
        self.creator = self.service.creator
        self.queue = self.creator._queue
        self.results = self.creator._results
        self.live = self.service._ledger._live
        self.outbox = self.service._journal.outbox

    def post(self, number: int | str, *, source: str = "network.notifi.acme", **data: Any) -> Any:
        """Deliver the build event with id ``number``."""
        return self.http.post(
            "/events",
            json={"parser_id": f"parser-{number}", **data},
            headers={"Ce-Id": str(number), "Ce-Source": source, "Ce-Type": TYPE},
        )

    def result(self, number: int | str) -> BuildResult | None:
        """Return the newest build of correlation ID ``number``."""
        return next(iter(self.results.by_id(str(number))), None)

    def wait_for(self, number: int | str, *states: BuildState, timeout: float = 10) -> BuildResult:
        """Wait until build ``number`` is in one of ``states``."""

        def reached() -> bool:
            found = self.result(number)
            return found is not None and found.state in states

        wait_until(
            reached, lambda: f"build {number} to be {states}, is {self.result(number)}", timeout
        )
        found = self.result(number)
        assert found is not None
        return found

    def stats(self) -> dict[str, Any]:
        """Return the stats, having checked that they add up."""
        stats = self.creator.get_stats().model_dump()
        outcomes = ("created_total", "dead_total", "cancelled_total", "skipped_total")
        parts = stats["queue_size"] + stats["busy_workers"] + sum(stats[name] for name in outcomes)
        assert stats["accepted_total"] == parts, stats
        return stats

    def metric(self, line: str) -> float:
        """Return the value of one series of /metrics."""
        text = self.http.get("/metrics").text
        for found in text.splitlines():
            if found.startswith(f"{line} "):
                return float(found.rsplit(" ", 1)[1])
        raise AssertionError(f"no series {line}")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevCluster]:
    with DevCluster(run_seconds=30.0, pending_seconds=0.02) as running:
        path = tmp_path / "kubeconfig"
        running.write_kubeconfig(path)
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield running


@pytest.fixture
def start(cluster: DevCluster) -> Iterator[Callable[..., Running]]:
    """Start a service with other settings; all are shut down at the end."""
    del cluster
    with ExitStack() as stack:

        def make(**settings: Any) -> Running:
            chosen = {
                "retry_base_seconds": 0.02,
                "retry_max_seconds": 0.1,
                "kube_api_timeout_seconds": 2,
                "drain_seconds": 5,
                **settings,
            }
            running = Running(Settings(**chosen))
            stack.callback(running.service.shutdown)
            running.service.start()
            return running

        yield make
