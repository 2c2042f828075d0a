"""The password of the shared journal's database: nobody gets to see it, whatever becomes of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import requests

from tests.postgres_server import PostgresServer, running
from tests.processes import ROOT, ClusterProcess, ServiceProcess
from tests.replicas import BACK_SECONDS
from tests.waiting import wait_until

CANARY = "canary"
"""Part of each password, of now or of before."""
COMMAND = (sys.executable, "-m", "lambda_builder.cli")
USER = "builder"
KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'builder'"
PAGES = (
    *("/", "/health", "/ready", "/readyz", "/metrics", "/openapi.json", "/docs"),
    *("/async-jobs", "/async-jobs/stats", "/async-jobs/taken", "/async-jobs/unknown"),
    *("/page/builds/taken", "/page/failures", "/page/rejected", "/page/dead-letters"),
    *("/page/audit", "/events/rejected", "/audit"),
)


@pytest.fixture
def database(postgres_files: Path) -> Iterator[PostgresServer]:
    """A server that may be stopped, and asks its user for a password."""
    with running(postgres_files) as server:
        server.execute(f"CREATE ROLE {USER} LOGIN PASSWORD 'canary-first'")
        server.demand_password(USER)
        wait_until(lambda: not lets_in(server), "it to ask for a password")
        yield server


def lets_in(server: PostgresServer) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(server.url(user=USER)).close()
        return True
    return False


@pytest.mark.parametrize("place", ["the URL", "a file"])
def test_the_password_of_the_database_comes_out_nowhere(
    cluster: ClusterProcess, tmp_path: Path, database: PostgresServer, place: str
) -> None:
    name = database.new_database()
    database.execute(f"ALTER DATABASE {name} OWNER TO {USER}")
    settings: dict[str, object] = {"log_level": "debug"}
    if place == "a file":
        file = tmp_path / "password"
        file.write_text("canary-first\n")
        settings["journal_password_file"] = file
        url = database.url(name, user=f"{USER}:canary-of-the-url")
    else:
        url = database.url(name, user=f"{USER}:canary-first")
    settings["journal_url"] = f"{url}?sslpassword=canary-key"
    said: list[str] = []
    with ServiceProcess(cluster.kubeconfig, tmp_path, **settings) as service:
        assert service.post("taken").status_code == 200
        wait_until(lambda: service.stats()["created_total"] == 1, "the Job")
        said += told(service)
        said += told_by_commands(service, "is in use")
        said.append(run(service.environment, "check-config"))

        database.execute(KILL)
        wait_until(lambda: service.get("/async-jobs/taken").ok, "the connections to be new")

        other = ServiceProcess(cluster.kubeconfig, tmp_path, **settings)
        database.execute(f"ALTER ROLE {USER} PASSWORD 'canary-second'")
        database.execute(KILL)
        said += told_of_refusals(service, "password authentication failed")
        said += told_by_commands(service, "password authentication failed")
        said += told_at_the_start(other, "password authentication failed")

        database.stop()
        said += told_of_refusals(service, "Connection refused")
        said += told_by_commands(service, "Connection refused")
        said += told_at_the_start(other, "Connection refused")

        database.start()
        database.execute(f"ALTER ROLE {USER} PASSWORD 'canary-first'")
        wait_until(lambda: service.post("last").ok, "events to be taken", BACK_SECONDS)
        service.terminate()
        log = service.log_path.read_text()
    for text in (*said, log):
        assert CANARY not in text.lower()
    # The driver's own lines are none of the service's.
    assert "discarding closed" not in log
    assert "journal_unavailable" in log


def told(service: ServiceProcess) -> Iterator[str]:
    for path in PAGES:
        answer = service.get(path)
        yield f"{answer.headers} {answer.text}"


def told_of_refusals(service: ServiceProcess, reason: str) -> Iterator[str]:
    """Yield what is answered while the database does not let the service in."""
    wait_until(lambda: reason in service.post("refused").text, "events to be refused")
    refused = service.post("refused")
    assert refused.status_code == 503
    yield refused.text
    yield requests.post(f"{service.url}/async-jobs/taken/retry", timeout=10).text
    yield service.delete("/async-jobs/taken").text
    yield from told(service)


def told_by_commands(service: ServiceProcess, reason: str) -> Iterator[str]:
    """Yield what commands say, of which one meets the database, which it tells a ``reason``."""
    environment = service.environment
    target = service.log_path.with_suffix(".sqlite3")
    file = environment.get("LAMBDA_BUILDER_JOURNAL_PASSWORD_FILE")
    options = ["--password-file", file] if file else []
    yield run(environment, "jobs", "--url", service.url, "retry", "taken")
    url = environment["LAMBDA_BUILDER_JOURNAL_URL"]
    copied = run(environment, "journal", "copy", url, str(target), *options)
    assert reason in copied
    yield copied


def told_at_the_start(service: ServiceProcess, reason: str) -> Iterator[str]:
    """Yield what ``serve`` says where the database does not let it in."""
    service.command = [*COMMAND, "serve"]
    before = len(service.log_tail())
    service.start(ready=False)
    try:
        wait_until(lambda: reason in service.log_tail()[before:], service.log_tail, 30)
    finally:
        service.kill()
    yield service.log_path.read_text()


def run(environment: dict[str, str], *arguments: str) -> str:
    """Run a command; returns all that it says."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    ).stdout
