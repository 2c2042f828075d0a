"""What the tests send to a real cluster, as far as can be seen without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests_mock
import yaml

from lambda_builder.kube.credentials import load_configuration
from tests.cluster.target import Real

URL = "https://cluster.test:6443"
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "r", "namespace": "n"},
}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    path = tmp_path / "kubeconfig"
    config = {
        "current-context": "admin",
        "contexts": [
            {"name": "other", "context": {"cluster": "other", "user": "admin"}},
            {"name": "admin", "context": {"cluster": "mine", "user": "admin"}},
        ],
        "clusters": [
            {"name": "other", "cluster": {"server": "https://other.test"}},
            {"name": "mine", "cluster": {"server": URL}},
        ],
        "users": [{"name": "admin", "user": {"token": "of-the-administrator"}}],
    }
    path.write_text(yaml.safe_dump(config))
    target = Real(path)
    yield target
    target.close()


def test_an_object_is_applied_to_where_its_kind_is_served(real: Real) -> None:
    with requests_mock.Mocker() as api:
        kinds = [{"name": "roles", "kind": "Role"}, {"name": "roles/x", "kind": "Role"}]
        api.get(f"{URL}/apis/rbac.authorization.k8s.io/v1", json={"resources": kinds})
        api.get(f"{URL}/api/v1", json={"resources": [{"name": "namespaces", "kind": "Namespace"}]})
        api.patch(requests_mock.ANY, json={})
        real.apply(ROLE)
        real.apply(NAMESPACE, dry_run=True)
        role, namespace = (each for each in api.request_history if each.method == "PATCH")
    assert role.path == "/apis/rbac.authorization.k8s.io/v1/namespaces/n/roles/r"
    assert role.json() == ROLE
    assert role.headers["Content-Type"] == "application/apply-patch+yaml"
    assert role.headers["Authorization"] == "Bearer of-the-administrator"
    assert "dryrun" not in role.qs
    assert namespace.path == "/api/v1/namespaces/n"
    assert namespace.qs["dryrun"] == ["all"]


def test_an_object_of_a_kind_that_is_not_served_is_not_sent(real: Real) -> None:
    with requests_mock.Mocker() as api:
        api.get(requests_mock.ANY, status_code=404, text="404 page not found")
        assert real.apply({**ROLE, "apiVersion": "eventing.knative.dev/v1"}) is None


def test_the_service_shows_its_own_token_to_the_same_cluster(real: Real, tmp_path: Path) -> None:
    path = real.kubeconfig_with("of-the-service", tmp_path / "service")
    found = load_configuration(pool_size=1, environ={"KUBECONFIG": str(path)})
    assert found.host == URL
    assert found.auth_settings()["BearerToken"]["value"] == "Bearer of-the-service"
    assert "of-the-administrator" not in path.read_text()


@pytest.mark.parametrize(("status", "skipped"), [("True", False), ("False", True), (None, True)])
def test_tests_that_need_pods_are_skipped_where_no_node_is_ready(
    real: Real, status: str | None, skipped: bool
) -> None:
    conditions = [{"type": "Ready", "status": status}]
    nodes = [] if status is None else [{"status": {"conditions": conditions}}]
    with requests_mock.Mocker() as api:
        api.get(f"{URL}/api/v1/nodes", json={"items": nodes})
        if skipped:
            with pytest.raises(pytest.skip.Exception, match="pods do not run"):
                real.require_pods()
        else:
            real.require_pods()
