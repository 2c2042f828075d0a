"""A cluster, the official client pointed at it, and a bare HTTP connection beside it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from kubernetes import client, config

from lambda_builder.devcluster import DevCluster

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """Requests over one kept-alive connection, as bare as they go over the wire."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        **headers: str,
    ) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": content_type, **headers} if data is not None else headers
        self._connection.request(method, path, data, sent)
        response = self._connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, response.read(), found)

    def stream(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", path)
        return self._connection.getresponse()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    with DevCluster(
        run_seconds=0.1, pending_seconds=0.02, deletion_seconds=0.1, bookmark_seconds=0.1
    ) as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Callable[[DevCluster], Api]]:
    opened: list[Api] = []

    def open_one(cluster: DevCluster) -> Api:
        opened.append(Api(cluster.port))
        return opened[-1]

    yield open_one
    for api in opened:
        api.close()


@pytest.fixture
def api(cluster: DevCluster, connect: Callable[[DevCluster], Api]) -> Api:
    return connect(cluster)


@pytest.fixture
def kubernetes(cluster: DevCluster, tmp_path: Any) -> Iterator[client.ApiClient]:
    cluster.write_kubeconfig(tmp_path / "kubeconfig")
    settings = client.Configuration()
    config.load_kube_config(str(tmp_path / "kubeconfig"), client_configuration=settings)
    settings.retries = False
    with client.ApiClient(settings) as made:
        yield made
        made.rest_client.pool_manager.clear()


@pytest.fixture
def batch(kubernetes: client.ApiClient) -> client.BatchV1Api:
    return client.BatchV1Api(kubernetes)


@pytest.fixture
def core(kubernetes: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(kubernetes)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], Any]], Any]:
    def wait(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while not (found := condition()):
            assert time.monotonic() < deadline, "what was waited for did not come"
            pause.wait(0.005)
        return found

    return wait


@pytest.fixture
def new_job() -> Callable[..., dict[str, Any]]:
    def make(name: str = "build-a", **spec: Any) -> dict[str, Any]:
        labels = spec.pop("labels", {"app": "lambda-builder"})
        container = {"name": "kaniko", "image": "ghcr.io/osscontainertools/kaniko:v1.28.3"}
        pod = {"restartPolicy": "Never", "containers": [container]}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec},
        }

    return make


@pytest.fixture
def condition_of(cluster: DevCluster) -> Callable[[str], str]:
    """The type and reason of a Job's last condition; "" while it has none."""

    def read(name: str) -> str:
        job = cluster.job(name) or {}
        conditions = job.get("status", {}).get("conditions", [])
        return f"{conditions[-1]['type']} {conditions[-1]['reason']}" if conditions else ""

    return read
