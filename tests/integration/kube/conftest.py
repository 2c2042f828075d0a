"""The embedded cluster, and our client connected to it by a kubeconfig."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.devcluster import DevCluster
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.pods import PodReader
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

NAMESPACE = "knative-lambda"


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    with DevCluster(run_seconds=0.1, pending_seconds=0.02) as running:
        yield running


@pytest.fixture
def kubeconfig(cluster: DevCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    cluster.write_kubeconfig(path)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


class Observed(list[tuple[str, str, float]]):
    """What the metrics hook was told."""

    def __call__(self, operation: str, code: str, seconds: float) -> None:
        self.append((operation, code, seconds))

    def codes(self, operation: str) -> list[str]:
        return [code for name, code, _ in self if name == operation]


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def connect(kubeconfig: Path, observed: Observed) -> Iterator[Callable[..., KubeClient]]:
    """Make a client with other settings; it is closed at the end."""
    clients: list[KubeClient] = []

    def make(**settings: object) -> KubeClient:
        settings = {"kube_api_timeout_seconds": 5, **settings}
        client = KubeClient.from_settings(Settings(**settings), observe=observed)  # type: ignore[arg-type]
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., KubeClient]) -> KubeClient:
    return connect()


@pytest.fixture
def jobs(client: KubeClient) -> JobManager:
    return JobManager(client, NAMESPACE)


@pytest.fixture
def pods(client: KubeClient) -> PodReader:
    return PodReader(client, NAMESPACE)


@pytest.fixture
def build() -> Callable[..., BuildRequest]:
    """Make a build request out of what matters to a test."""

    def make(event_id: str = "id-1", **fields: object) -> BuildRequest:
        third_party_id = str(fields.get("third_party_id", "customer-1"))
        parser_id = str(fields.get("parser_id", "parser-1"))
        digest = netstring_digest("source-1", event_id)
        known: dict[str, object] = {
            "event_id": event_id,
            "event_source": "source-1",
            "event_type": "network.notifi.lambda.build.start",
            "parser_id": parser_id,
            "third_party_id": third_party_id,
            "correlation_id": f"corr-{event_id}",
            "event_hash": digest,
            "job_name": job_name(third_party_id, parser_id, digest),
            "accepted_at": time.time(),
        }
        return BuildRequest(**{**known, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture
def manifest(build: Callable[..., BuildRequest]) -> Callable[..., dict]:
    """Make the built-in template's manifest of a build."""
    template = JobTemplate.from_settings(Settings())
    return lambda *args, **fields: template.render(build(*args, **fields))
