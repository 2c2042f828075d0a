"""One cluster, two namespaces in it, the chart's rights, and two replicas that have only those.

``make test-cluster`` names a real cluster; without one all of it runs against the embedded one.
Where that differs from a real cluster, ``differs`` says how, and the test has to fail there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import DEPLOYMENT, ChartEngine, Values
from tests.cluster.target import KUBECONFIG_VARIABLE, Embedded, KubeObject, Target, target_of
from tests.http_sink import HttpSink
from tests.processes import ServiceProcess
from tests.waiting import wait_until

IMAGE = "registry.k8s.io/e2e-test-images/busybox:1.36.1-1"
_RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "LimitRange", "NetworkPolicy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get(KUBECONFIG_VARIABLE):
        return
    for item in items:
        if (mark := item.get_closest_marker("differs")) is not None:
            item.add_marker(pytest.mark.xfail(strict=True, reason=mark.args[0]))


@dataclass
class Site:
    """Where the tests are at work."""

    target: Target
    system: str
    """Namespace of the release, with the service's account."""
    builds: str
    values: Values
    kubeconfig: Path
    """With the service account's token, where the cluster gives one."""
    has_token: bool

    @property
    def jobs_path(self) -> str:
        return f"/apis/batch/v1/namespaces/{self.builds}/jobs"

    def jobs(self) -> list[KubeObject]:
        items: list[KubeObject] = self.target.get(self.jobs_path)["items"]
        return items

    def pods(self) -> list[KubeObject]:
        items: list[KubeObject] = self.target.get(f"/api/v1/namespaces/{self.builds}/pods")["items"]
        return items

    def wait_until(self, condition: Any, what: str) -> None:
        wait_until(condition, what, self.target.patience)


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    found = target_of(os.environ, tmp_path_factory.mktemp("cluster"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def engine() -> Iterator[ChartEngine]:
    engine = ChartEngine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def site(
    target: Target, engine: ChartEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Make both namespaces with the chart's objects in them; they go at the end."""
    system = f"lambda-builder-test-{secrets.token_hex(4)}"
    builds = f"{system}-builds"
    values = {**DEPLOYMENT, "build": {"namespace": builds, "quota": {"enabled": False}}}
    for name in (system, builds):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        target.call("POST", "/api/v1/namespaces", body).raise_for_status()
    try:
        for found in engine.objects(values, system):
            if found["kind"] in _RIGHTS and not isinstance(target, Embedded):
                answer = target.apply(found)
                assert answer is not None, found["kind"]
                assert answer.ok, answer.text
        token = None if target.embedded else token_of(target, engine, values, system)
        kubeconfig = target.kubeconfig
        if token is not None:
            path = tmp_path_factory.mktemp("service") / "kubeconfig"
            kubeconfig = target.kubeconfig_with(token, path)
        yield Site(target, system, builds, values, kubeconfig, token is not None)
    finally:
        for name in (builds, system):
            target.call("DELETE", f"/api/v1/namespaces/{name}")


def token_of(target: Target, engine: ChartEngine, values: Values, system: str) -> str:
    """Ask for a token of the service's account, as the kubelet does for its pod."""
    [account] = [
        each["metadata"]
        for each in engine.objects(values, system)
        if each["kind"] == "ServiceAccount" and each["metadata"]["namespace"] == system
    ]
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    path = f"/api/v1/namespaces/{system}/serviceaccounts/{account['name']}/token"
    answer = target.call("POST", path, body)
    answer.raise_for_status()
    return str(answer.json()["status"]["token"])


@pytest.fixture(scope="session")
def sink() -> Iterator[HttpSink]:
    running = HttpSink()
    yield running
    running.close()


@pytest.fixture(scope="session")
def both(
    site: Site, sink: HttpSink, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    """Two replicas with a journal each."""
    folder = tmp_path_factory.mktemp("replicas")

    def replica(name: str) -> ServiceProcess:
        return ServiceProcess(
            site.kubeconfig,
            folder,
            namespace=site.builds,
            job_template=Path(__file__).with_name("job.yaml"),
            image=IMAGE,
            journal_path=folder / f"{name}.sqlite3",
            sink_url=sink.url,
            kube_api_timeout_seconds=5,
        )

    first, second = replica("a"), replica("b")
    try:
        for service in (first, second):
            service.start(ready=False)
        for service in (first, second):
            wait_until(service.is_ready, service.log_tail, 120)
        yield first, second
    finally:
        first.kill()
        second.kill()


@pytest.fixture
def replicas(
    site: Site, both: tuple[ServiceProcess, ServiceProcess]
) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    """Both replicas, with nothing in the cluster and nothing left to do afterwards."""
    yield both
    for service in both:
        site.wait_until(lambda s=service: s.stats()["queue_size"] == 0, "the queue")
    site.target.call("DELETE", site.jobs_path, propagationPolicy="Background")
    site.wait_until(lambda: not site.jobs(), "the Jobs to go")
    site.wait_until(lambda: not site.pods(), "their pods to go")


@pytest.fixture
def service(replicas: tuple[ServiceProcess, ServiceProcess]) -> ServiceProcess:
    return replicas[0]


@pytest.fixture
def needs_pods(target: Target) -> None:
    target.require_pods()
