"""One request to the API: bounded, translated, and sent again only with new credentials."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.errors import BootError, FailureReason, Permanent, Transient, Unreachable
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.credentials import load_configuration
from lambda_builder.settings import Settings

INCLUSTER = "kubernetes.config.incluster_config"
JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"


def list_jobs(client: KubeClient) -> dict:
    return client.request("list_jobs", "GET", JOBS)


def test_an_answer_comes_back_as_the_api_wrote_it(client, observed):
    assert list_jobs(client)["kind"] == "JobList"
    operation, code, seconds = observed[0]
    assert (operation, code) == ("list_jobs", "200")
    assert 0 < seconds < 5


def test_a_hanging_api_costs_no_more_than_the_timeout(cluster, connect, observed):
    client = connect(kube_api_timeout_seconds=1)
    cluster.add_fault(Fault("hang"))
    started = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        list_jobs(client)
    assert 0.25 < time.monotonic() - started < 2
    assert caught.value.reason is FailureReason.TIMEOUT
    assert observed.codes("list_jobs") == ["error"]


def test_a_refused_connection_is_no_timeout_and_says_so_in_short(cluster, client):
    cluster.outage()
    with pytest.raises(Unreachable) as caught:
        list_jobs(client)
    assert caught.value.reason is FailureReason.CONNECTION
    assert str(caught.value).startswith("list_jobs: no answer: ")
    assert "refused" in str(caught.value)
    assert "0x" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_cut_connection_is_unreachable(cluster, client):
    list_jobs(client)
    cluster.add_fault(Fault("cut", times=1))
    with pytest.raises(Unreachable) as caught:
        list_jobs(client)
    assert caught.value.reason is FailureReason.CONNECTION
    assert list_jobs(client)["kind"] == "JobList"


def test_a_retry_after_is_told_and_not_slept_out(cluster, client):
    cluster.add_fault(Fault("status", status=429, retry_after=30, times=1))
    started = time.monotonic()
    with pytest.raises(Transient) as caught:
        list_jobs(client)
    assert time.monotonic() - started < 5
    assert caught.value.reason is FailureReason.RATE_LIMITED
    assert caught.value.retry_after == 30
    assert len(cluster.requests()) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_nothing_is_sent_twice(cluster, client, status):
    cluster.add_fault(Fault("status", status=status))
    with pytest.raises(Transient):
        list_jobs(client)
    assert len(cluster.requests()) == 1


def test_requests_end_by_the_deadline_and_none_is_sent_after_it(cluster, client):
    cluster.add_fault(Fault("hang"))
    started = time.monotonic()
    client.set_deadline(started + 0.3)
    with pytest.raises(Unreachable):
        list_jobs(client)
    assert time.monotonic() - started < 2
    cluster.clear_requests()
    client.set_deadline(time.monotonic())
    with pytest.raises(Unreachable, match="the service is stopping"):
        list_jobs(client)
    assert cluster.requests() == []


def test_rotated_credentials_are_read_again(cluster, client, kubeconfig, observed):
    list_jobs(client)
    cluster.set_token("second")
    cluster.write_kubeconfig(kubeconfig)
    assert list_jobs(client)["kind"] == "JobList"
    assert list_jobs(client)["kind"] == "JobList"
    assert observed.codes("list_jobs") == ["200", "401", "200", "200"]


def test_many_threads_that_meet_rotated_credentials_read_them_once(cluster, kubeconfig):
    loads = []

    def load():
        loads.append(1)
        return load_configuration(pool_size=8)

    client = KubeClient(load, timeout_seconds=5)
    cluster.set_token("second")
    cluster.write_kubeconfig(kubeconfig)
    barrier, answers = threading.Barrier(8), []

    def call() -> None:
        barrier.wait()
        answers.append(list_jobs(client)["kind"])

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert answers == ["JobList"] * 8
    assert len(loads) == 2


def test_credentials_that_stay_refused_are_permanent_and_not_told(cluster, client):
    cluster.set_token("s3cret-token")
    with pytest.raises(Permanent) as caught:
        list_jobs(client)
    assert caught.value.reason is FailureReason.UNAUTHORIZED
    assert [request.status for request in cluster.requests()] == [401, 401]
    assert "s3cret" not in str(caught.value)


def test_a_kubeconfig_that_broke_leaves_the_old_one_in_force(cluster, client, kubeconfig):
    cluster.set_token("second")
    kubeconfig.write_text("clusters: [")
    with pytest.raises(Permanent, match="reading the credentials again failed"):
        list_jobs(client)
    cluster.set_token(None)
    assert list_jobs(client)["kind"] == "JobList"


def test_an_api_that_moved_is_found_again(cluster, client, kubeconfig):
    list_jobs(client)
    cluster.outage()
    with DevCluster() as moved:
        moved.write_kubeconfig(kubeconfig)
        with pytest.raises(Unreachable):
            list_jobs(client)
        assert list_jobs(client)["kind"] == "JobList"
        assert client.host == moved.url


class Gate(BaseHTTPRequestHandler):
    """Answers who shows the second token of a service account."""

    shown: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.shown.append(self.headers["Authorization"])
        accepted = self.headers["Authorization"] == "bearer second"
        self.send_response(200 if accepted else 401)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gate():
    Gate.shown.clear()
    with HTTPServer(("127.0.0.1", 0), Gate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_service_accounts_token_that_was_rotated_is_read_again(gate, tmp_path, monkeypatch):
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    authority.write_text("a certificate")
    token.write_text("first")
    monkeypatch.setattr(f"{INCLUSTER}.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(f"{INCLUSTER}.SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    pod = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}

    def load():
        configuration = load_configuration(pool_size=4, environ=pod)
        assert configuration.host == "https://10.0.0.1:443"
        # Only the address is another: a test has no certificate to show.
        configuration.refresh_api_key_hook = None
        configuration.host = gate
        return configuration

    client = KubeClient(load, timeout_seconds=5)
    token.write_text("second")
    assert list_jobs(client) == {}
    client.close()
    assert Gate.shown == ["bearer first", "bearer second"]


@pytest.mark.parametrize("timeout", [1.0, 3.0])
def test_the_probe_tells_an_api_that_answers_from_one_that_does_not(cluster, connect, timeout):
    client = connect(kube_api_timeout_seconds=timeout)
    assert client.probe()
    cluster.set_token("other")
    assert client.probe(), "who refuses is there"
    cluster.set_token(None)
    for status, there in ((429, True), (500, False), (503, False)):
        cluster.add_fault(Fault("status", status=status))
        assert client.probe() is there
        cluster.clear_faults()
    cluster.add_fault(Fault("hang"))
    assert not client.probe(0.2)
    cluster.clear_faults()
    cluster.outage()
    assert not client.probe()
    cluster.restore()
    assert client.probe()


def test_a_missing_kubeconfig_refuses_to_boot(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    with pytest.raises(BootError, match=r"KUBECONFIG=.*nowhere"):
        KubeClient.from_settings(Settings())


@pytest.mark.parametrize(
    "text", ["", "[]", "just text", "a: [", "clusters: 5", "current-context: x"]
)
def test_a_kubeconfig_that_is_none_refuses_to_boot(monkeypatch, tmp_path: Path, text):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(
        BootError, match="cannot read the Kubernetes configuration from KUBECONFIG="
    ):
        KubeClient.from_settings(Settings())


@pytest.mark.parametrize(
    "url", ["https://host:port", "https://host:99999", "ftp://host", "https://"]
)
def test_a_server_that_is_no_url_refuses_to_boot_and_leaves_the_old_one_in_force(
    cluster, client, kubeconfig, url
):
    text = kubeconfig.read_text()
    kubeconfig.write_text(text.replace(cluster.url, url))
    with pytest.raises(BootError, match="no URL"):
        KubeClient.from_settings(Settings())
    cluster.outage()
    with pytest.raises(Unreachable):
        client.request("list_jobs", "GET", JOBS)
    cluster.restore()
    assert client.request("list_jobs", "GET", JOBS)["kind"] == "JobList"


def test_nothing_to_connect_to_refuses_to_boot_and_says_what_was_tried(monkeypatch, tmp_path):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BootError) as caught:
        KubeClient.from_settings(Settings())
    for tried in ("KUBECONFIG", str(tmp_path / ".kube" / "config"), "KUBERNETES_SERVICE_HOST"):
        assert tried in str(caught.value)


def test_the_default_kubeconfig_is_used_where_none_is_named(cluster, monkeypatch, tmp_path):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    cluster.write_kubeconfig(tmp_path / ".kube" / "config")
    client = KubeClient.from_settings(Settings())
    assert client.host == cluster.url
    assert client.probe()
    client.close()
