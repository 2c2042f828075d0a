"""The command line, run as its users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from lambda_builder.builds import FailureCategory
from lambda_builder.client import Build, Client
from tests.http_sink import HttpSink
from tests.processes import ROOT, ClusterProcess, ServiceProcess, free_port
from tests.waiting import wait_until


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAMBDA_BUILDER_", "K_"))}
    return subprocess.run(
        [sys.executable, "-m", "lambda_builder.cli", *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_effective_settings_are_shown_with_secrets_hidden() -> None:
    shown = run(
        "check-config",
        LAMBDA_BUILDER_QUEUE_SIZE="7",
        K_CE_OVERRIDES='{"extensions": {"token": "hunter2"}}',
        LAMBDA_BUILDER_JOURNAL_URL="postgresql://builder:hunter2@db/builds?sslpassword=hunter2",
    )
    assert shown.returncode == 0
    lines = [line.split("│") for line in shown.stdout.splitlines() if "│" in line]
    values = {line[1].strip(): line[2].strip() for line in lines}
    assert values["LAMBDA_BUILDER_QUEUE_SIZE"] == "7"
    assert values["K_CE_OVERRIDES"] == "(hidden)"
    assert values["LAMBDA_BUILDER_JOURNAL_URL"] == "postgresql://***@db/builds?***"
    assert "hunter2" not in shown.stdout
    assert "warning: AUTH_FILE is empty" in shown.stderr


def test_settings_that_cannot_work_are_told_with_exit_code_2() -> None:
    shown = run("check-config", LAMBDA_BUILDER_QUEUE_SIZE="many", LAMBDA_BUILDER_WORKER_COUNT="0")
    assert shown.returncode == 2
    assert "LAMBDA_BUILDER_QUEUE_SIZE" in shown.stderr
    assert "LAMBDA_BUILDER_WORKER_COUNT" in shown.stderr


def test_builds_are_listed_shown_cancelled_and_sent_again(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    def jobs(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run("jobs", "--url", service.url, *arguments)

    cluster.add_fault("status", verb="create", resource="jobs", status=403, message="no", times=1)
    name = service.post("one").json()["job_name"]
    wait_until(lambda: service.stats()["dead_total"] == 1, "the failure")
    listed = jobs("list", "--state", "dead").stdout
    assert name in listed
    assert "forbidden" in listed
    assert name in jobs("list", "--state", "dead", "--state", "failed", "--q", "NO").stdout
    assert name not in jobs("list", "--tenant", "nobody").stdout
    counted = jobs("retry", "--all-matching", "--tenant", "customer", "--dry-run").stdout
    assert json.loads(counted) == {"matched": 1, "done": 0, "refused": []}
    refused = jobs("cancel", "--all-matching")
    assert (refused.returncode, "all must be true" in refused.stderr) == (1, True)
    assert json.loads(jobs("show", "one").stdout)["state"] == "dead"
    again = jobs("retry", "one")
    assert (again.returncode, json.loads(again.stdout)["job_name"]) == (0, name)
    wait_until(lambda: len(cluster.jobs()) == 1, "the Job")
    refused = jobs("retry", "one")
    assert refused.returncode == 1
    assert "not_retryable" in refused.stderr
    assert json.loads(jobs("stats").stdout)["accepted_total"] == 2
    missing = jobs("cancel", "nobody")
    assert (missing.returncode, "not_found" in missing.stderr) == (5, True)
    away = run("jobs", "--url", f"http://127.0.0.1:{free_port()}", "stats")
    assert away.returncode == 3
    assert "does not answer" in away.stderr


def is_a_believable_mix(builds: Iterable[Build]) -> bool:
    """Whether there are builds of several tenants that failed for different reasons."""
    known = list(builds)
    categories = {build.failure_category for build in known} - {None, FailureCategory.UNKNOWN}
    return len({build.third_party_id for build in known}) >= 3 and len(categories) >= 2


def test_dev_brings_a_living_service_and_cluster_and_takes_both_down_again(tmp_path: Path) -> None:
    port = free_port()
    output = tmp_path / "output"  # which a pipe that nobody reads would hold up
    options = ("--demo", "--demo-rate", "20", "--run-seconds", "0.1")
    with output.open("w") as written:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "lambda_builder.cli", "dev", *options),
                *("--kubeconfig", str(tmp_path / "kubeconfig")),
            ],
            cwd=ROOT,
            env={**os.environ, "PORT": str(port), "LAMBDA_BUILDER_HOST": "127.0.0.1"},
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: output.read_text().count("\n") >= 3, "the banner", 20)
        banner = output.read_text().splitlines()
        assert f"http://localhost:{port}" in banner[0]
        assert "development and test only" in banner[1]

        def answers() -> bool:
            try:
                return requests.get(f"http://127.0.0.1:{port}/ready", timeout=2).ok
            except requests.RequestException:
                return False

        wait_until(answers, "the service", 20)
        sent = requests.post(
            f"http://127.0.0.1:{port}/events",
            data='{"parser_id": "p"}',
            headers={"Ce-Type": "network.notifi.lambda.build.start"},
            timeout=5,
        )
        assert sent.status_code == 200
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_until(lambda: is_a_believable_mix(client.list()), "the demo", 30, every=0.5)
        cluster_url = banner[1].split()[-1]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
        process.wait(30)
    finally:
        process.kill()
        process.wait(10)
    rest = output.read_text()
    assert process.returncode == 0, rest[-3000:]
    assert "Traceback" not in rest
    try:
        requests.get(f"{cluster_url}/version", timeout=2)
    except requests.ConnectionError:
        pass
    else:
        raise AssertionError("the embedded cluster is still there")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Files with a private key and its public one."""
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def test_provenance_of_a_build_is_told_shown_and_checked_with_the_public_key(
    cluster: ClusterProcess, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    settings = {
        "PROVENANCE_KEY_FILE": private,
        "PROVENANCE_BUILDER_ID": "https://ci.example.com/builder",
    }
    with (
        closing(HttpSink()) as sink,
        ServiceProcess(cluster.kubeconfig, tmp_path, SINK_URL=sink.url, **settings) as service,
    ):
        name = service.post("one").json()["job_name"]
        assert service.get(f"/async-jobs/{name}/provenance").json()["code"] == "no_provenance"

        def told() -> list[dict[str, Any]]:
            return [d for h, d in sink.events if h["ce-type"].endswith(".build.complete")]

        wait_until(told, "the news of its end")
        shown = service.get(f"/async-jobs/{name}/provenance")
        file = tmp_path / "provenance.json"
        file.write_text(shown.text)
        # Ed25519 signs the same statement the same way.
        assert told()[0]["provenance"] == shown.json()
        digest = service.get(f"/async-jobs/{name}").json()["image_digest"]
    checked = run("verify", "--key", str(public), str(file))
    assert checked.returncode == 0, checked.stderr
    statement = json.loads(checked.stdout)
    assert f"sha256:{statement['subject'][0]['digest']['sha256']}" == digest
    parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["event"]["id"] == "one"
    file.write_text(shown.text.replace('"sig":"', '"sig":"AA'))
    refused = run("verify", "--key", str(public), str(file))
    assert refused.returncode == 1
    assert "nobody" in refused.stderr
