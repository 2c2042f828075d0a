"""An embedded cluster with Jobs of ours, and what watches them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lambda_builder.builds import BuildRequest, job_name, netstring_digest
from lambda_builder.devcluster import DevCluster
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.credentials import load_configuration
from lambda_builder.kube.jobs import CreatedJob, JobManager
from lambda_builder.kube.watcher import JobChange, JobWatcher
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

NAMESPACE = "knative-lambda"
STOP_SECONDS = 5.0


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[DevCluster]:
    """Jobs run for as many seconds as the parameter says, else until they are told to end."""
    timing = getattr(request, "param", 3600)
    timing = timing if isinstance(timing, dict) else {"run_seconds": timing}
    with DevCluster(pending_seconds=0.01, bookmark_seconds=0.2, **timing) as running:
        yield running


quick_jobs = pytest.mark.parametrize("cluster", [0.2], indirect=True)


@pytest.fixture
def connect(cluster: DevCluster, tmp_path: Path) -> Iterator[Callable[..., KubeClient]]:
    path = tmp_path / "kubeconfig"
    cluster.write_kubeconfig(path)
    clients: list[KubeClient] = []

    def make(timeout_seconds: float = 5.0, *, host: str | None = None) -> KubeClient:
        def load() -> object:
            configuration = load_configuration(pool_size=8, environ={"KUBECONFIG": str(path)})
            configuration.host = host or configuration.host
            return configuration

        clients.append(KubeClient(load, timeout_seconds=timeout_seconds))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., KubeClient]) -> KubeClient:
    return connect()


@pytest.fixture
def jobs(client: KubeClient) -> JobManager:
    return JobManager(client, NAMESPACE)


class Road:
    """The way to the cluster of one client only; frozen, nothing goes through, nothing breaks."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._run(self._accept)

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(5)  # accepts no more: from now on there are no more sockets
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _run(self, action: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=action, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                far = socket.create_connection(self._target)
                self._sockets.append(far)
                self._run(self._forward, near, far)
                self._run(self._forward, far, near)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def road(cluster: DevCluster) -> Iterator[Road]:
    made = Road(cluster.port)
    yield made
    made.close()


def request_for(event_id: str, **fields: object) -> BuildRequest:
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


class Builds:
    """Makes Jobs of ours as the service would."""

    def __init__(self, jobs: JobManager) -> None:
        self._jobs = jobs
        self._template = JobTemplate.from_settings(Settings())

    def create(self, event_id: str = "id-1", **fields: object) -> BuildRequest:
        request = request_for(event_id, **fields)
        self.create_job(request)
        return request

    def create_job(self, request: BuildRequest) -> CreatedJob:
        return self._jobs.create_job(self._template.render(request))


@pytest.fixture
def builds(jobs: JobManager) -> Builds:
    return Builds(jobs)


class Heard(list[JobChange]):
    """Every change that was told."""

    def of(self, name: str) -> list[tuple[str, str]]:
        """Kind and state of a Job's changes, in the order in which they were told."""
        return [
            (change.kind, change.record.state.value)
            for change in list(self)
            if change.record.name == name
        ]

    def states(self, name: str) -> list[str]:
        return [state for _, state in self.of(name)]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watch(client: KubeClient, heard: Heard) -> Iterator[Callable[..., JobWatcher]]:
    """Start a watcher with other settings; it is stopped at the end."""
    started: list[JobWatcher] = []

    def make(**settings: object) -> JobWatcher:
        pace = {name: settings.pop(name) for name in list(settings) if hasattr(JobWatcher, name)}
        with_client = settings.pop("client", client)
        watcher = JobWatcher(with_client, NAMESPACE, **settings)  # type: ignore[arg-type]
        for name, value in pace.items():
            setattr(watcher, name, value)
        watcher.listen(heard.append)
        watcher.start()
        started.append(watcher)
        return watcher

    yield make
    for watcher in started:
        assert watcher.stop(STOP_SECONDS) == []
