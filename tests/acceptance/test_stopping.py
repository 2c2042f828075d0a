"""Signals to the real gunicorn: every way to stop ends cleanly, and nothing accepted is lost."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.processes import ROOT, ClusterProcess, ServiceProcess, free_port
from tests.waiting import wait_until


def fill(cluster: ClusterProcess, service: ServiceProcess, count: int) -> None:
    cluster.add_fault("latency", verb="create", resource="jobs", seconds=0.1)
    with requests.Session() as session:
        for number in range(count):
            assert service.post(number, session=session).status_code == 200


def test_sigterm_with_fifty_queued_builds_finishes_them_all_in_time(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    fill(cluster, service, 50)
    assert service.terminate() < 30
    assert len(cluster.jobs()) == 50
    assert set(cluster.jobs_per_event().values()) == {1}


def test_a_second_sigterm_changes_nothing(cluster: ClusterProcess, service: ServiceProcess) -> None:
    fill(cluster, service, 30)
    service.signal(signal.SIGTERM)
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert len(cluster.jobs()) == 30


def test_sigint_drains_too(cluster: ClusterProcess, service: ServiceProcess) -> None:
    fill(cluster, service, 30)
    service.signal(signal.SIGINT)
    assert service.wait() == 0
    assert len(cluster.jobs()) == 30


@pytest.mark.parametrize("delay", [0.05, 0.3, 0.6, 1.0])
def test_sigterm_during_startup_ends_cleanly(
    cluster: ClusterProcess, tmp_path: Path, delay: float
) -> None:
    with ServiceProcess(cluster.kubeconfig, tmp_path) as service:
        service.kill()
        service.start(ready=False)
        time.sleep(delay)  # the moment itself is what is being tried, not a condition
        service.signal(signal.SIGTERM)
        assert service.wait(30) in (0, -signal.SIGTERM)
    assert "Traceback" not in service.log_tail()


def test_a_kept_alive_connection_is_told_of_the_shutdown_and_reads_still_work(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    with requests.Session() as session:
        fill(cluster, service, 60)
        assert service.post("before", session=session).status_code == 200
        service.signal(signal.SIGTERM)
        wait_until(
            lambda: any(line["event"] == "shutdown_started" for line in service.log_lines()),
            "the drain to begin",
        )
        answer = service.post("after", session=session)
    assert answer.status_code == 503
    assert answer.json()["code"] == "shutting_down"
    assert int(answer.headers["Retry-After"]) >= 1
    assert service.wait() == 0
    assert len(cluster.jobs()) == 61


def test_a_client_that_never_finishes_its_request_does_not_cost_the_drain(
    cluster: ClusterProcess, service: ServiceProcess
) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as slow:
        slow.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        fill(cluster, service, 30)
        service.signal(signal.SIGTERM)
        wait_until(lambda: len(cluster.jobs()) == 30, "the drain", 20)
        wait_until(
            lambda: any(line["event"] == "shutdown_finished" for line in service.log_lines()),
            "the end of the drain",
        )
    service.wait(35)


def test_what_a_hanging_api_keeps_from_being_drained_is_named_in_the_log(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    with ServiceProcess(cluster.kubeconfig, tmp_path, drain_seconds=2) as service:
        cluster.add_fault("hang", verb="create", resource="jobs")
        for number in range(10):
            answer = service.post(number, build_args={"TOKEN": "hunter2"})
            assert answer.status_code == 200
        assert service.terminate() < 10
        left = [line for line in service.log_lines() if line["event"] == "build_left"]
    assert sorted(line["correlation_id"] for line in left) == sorted(map(str, range(10)))
    assert "hunter2" not in service.log_path.read_text()


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
"""


def boot(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *arguments, "wsgi:app"],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "PORT": str(free_port()),
            "LAMBDA_BUILDER_HOST": "127.0.0.1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_settings_that_cannot_work_end_the_process_with_2_and_every_problem() -> None:
    ended = boot(LAMBDA_BUILDER_QUEUE_SIZE="none", PORT="x")
    assert ended.returncode == 2
    assert "LAMBDA_BUILDER_QUEUE_SIZE" in ended.stderr
    assert "PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_template_with_an_unknown_placeholder_refuses_to_boot(tmp_path: Path) -> None:
    template = tmp_path / "job.yaml"
    built_in = ROOT / "lambda_builder" / "manifest" / "templates" / "kaniko.yaml"
    template.write_text(built_in.read_text().replace("${context_url}", "${nobody}"))
    ended = boot(LAMBDA_BUILDER_JOB_TEMPLATE=str(template))
    assert ended.returncode == 2
    assert "${nobody}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--graceful-timeout=20", "graceful_timeout"),
        ("--workers=2", "workers must be 1"),
        ("--preload", "preload_app"),
        ("--max-requests=100", "max_requests"),
    ],
)
def test_gunicorn_options_that_would_lose_builds_refuse_to_boot(
    option: str, message: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    ended = boot(option, KUBECONFIG=str(kubeconfig))
    assert ended.returncode == 2
    assert message in ended.stderr


def test_a_cluster_that_is_not_configured_refuses_to_boot_and_says_what_was_tried() -> None:
    ended = boot()
    assert ended.returncode == 4
    assert "KUBECONFIG" in ended.stderr
    assert "Traceback" not in ended.stderr
