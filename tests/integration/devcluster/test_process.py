"""The cluster as its own process, and kubectl talking to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes import client, config

from lambda_builder.devcluster import DevCluster
from tests.programs import needs


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [
        "--kubeconfig",
        str(tmp_path / "config"),
        "--namespace",
        "builds",
        "--run-seconds",
        "0.1",
        "--pending-seconds",
        "0",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "lambda_builder.devcluster", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        yield running
        running.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_where_it_is_and_ends_cleanly(process, tmp_path, number):
    line = process.stdout.readline()
    assert "development and test only" in line
    url = line.split()[-1]
    settings = client.Configuration()
    config.load_kube_config(str(tmp_path / "config"), client_configuration=settings)
    with client.ApiClient(settings) as made:
        assert settings.host == url
        assert client.VersionApi(made).get_code().git_version.endswith("+devcluster")
        made.rest_client.pool_manager.clear()
    process.send_signal(number)
    assert process.wait(10) == 0
    assert process.stdout.read() == ""


def test_the_kubeconfig_is_the_owners_only(tmp_path):
    with DevCluster(token="secret") as cluster:
        cluster.write_kubeconfig(tmp_path / "config")
        assert (tmp_path / "config").stat().st_mode & 0o777 == 0o600
        read = yaml.safe_load((tmp_path / "config").read_text())
        assert read["users"][0]["user"] == {"token": "secret"}
        assert read["clusters"][0]["cluster"]["server"] == cluster.url


@needs("kubectl")
def test_kubectl_creates_reads_follows_and_deletes(cluster, new_job, tmp_path):
    cluster.write_kubeconfig(tmp_path / "config")
    manifest = tmp_path / "job.yaml"
    manifest.write_text(yaml.safe_dump(new_job()))

    def kubectl(*arguments: str) -> str:
        environment = {**os.environ, "KUBECONFIG": str(tmp_path / "config"), "HOME": str(tmp_path)}
        done = subprocess.run(
            ["kubectl", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert kubectl("create", "-f", str(manifest)) == "job.batch/build-a created\n"
    kubectl("wait", "--for=condition=complete", "job/build-a", "--timeout=10s")
    table = kubectl("get", "jobs", "-l", "app=lambda-builder")
    assert table.split()[:2] == ["NAME", "STATUS"]
    assert "Complete" in table
    assert "Pushed image" in kubectl("logs", "-f", "job/build-a")
    described = kubectl("describe", "job", "build-a")
    assert "SuccessfulCreate" in described
    assert kubectl("delete", "job", "build-a").startswith('job.batch "build-a" deleted')
    assert cluster.jobs() == []
