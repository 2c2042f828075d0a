"""Who may do what, with the service and the command line in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from click.testing import CliRunner

from lambda_builder.cli.commands import main
from tests.processes import ROOT, ClusterProcess, ServiceProcess
from tests.waiting import wait_until

TOKEN = "a-token-of-more-than-twenty-characters"


def cli(*arguments: str, sent: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lambda_builder.cli", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=30, input=sent,
    )  # fmt: skip


def write(path: Path, *tenants: str) -> None:
    hashed = cli("auth", "hash", sent=f"{TOKEN}\n")
    assert (hashed.returncode, hashed.stderr) == (0, "")
    content = {
        "identities": [{"name": "ci", "token_sha256": [hashed.stdout.strip()]}],
        "policies": [
            {"identities": ["ci"], "actions": ["send", "read", "steer"], "tenants": list(tenants)}
        ],
    }
    path.write_text(yaml.safe_dump(content))


def test_a_token_opens_what_its_policy_says_and_a_changed_file_counts_at_once(
    cluster: ClusterProcess, tmp_path: Path
) -> None:
    path = tmp_path / "auth.yaml"
    write(path, "customer")
    shown = {"Authorization": f"Bearer {TOKEN}"}
    with ServiceProcess(cluster.kubeconfig, tmp_path, auth_file=path, read_only=False) as service:
        assert service.post(1).status_code == 401
        assert service.get("/metrics").status_code == 401
        assert service.get("/health").status_code == 200
        assert service.post(1, headers=shown).status_code == 200
        assert service.post(2, headers=shown, third_party_id="other").status_code == 403
        write(path, "customer", "other")
        wait_until(
            lambda: service.post(2, headers=shown, third_party_id="other").status_code == 200,
            "the new policy",
            every=0.1,
        )
        path.write_text("identities: [")
        wait_until(lambda: "auth_file_broken" in service.log_path.read_text(), "the log", every=0.1)
        assert service.get("/async-jobs/1", headers=shown).status_code == 200
        listed = cli("jobs", "--url", service.url, "--token", TOKEN, "list")
        assert "build-customer-parser-1" in listed.stdout
        refused = cli("jobs", "--url", service.url, "list")
        assert (refused.returncode, "unauthenticated" in refused.stderr) == (4, True)
        write(path, "*")
        stats = "/async-jobs/stats"
        wait_until(lambda: service.get(stats, headers=shown).status_code == 200, "all", every=0.1)
        load = ["bench", service.url, "--count", "3", "--cancel"]
        known = CliRunner(env={"LAMBDA_BUILDER_TOKEN": TOKEN}).invoke(main, load)
        assert "3 of 3" in known.stdout
        unknown = CliRunner().invoke(main, load)
        assert (unknown.exit_code, "unauthenticated" in unknown.stderr) == (4, True)
        service.terminate()
        log = service.log_path.read_text()
        assert TOKEN not in log
        assert "open_to_everybody" not in log
        assert log.count("tenants_not_apart") == 3


def test_a_broken_file_refuses_to_boot_with_all_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "auth.yaml"
    path.write_text("identities: [{name: a}, {name: b, tokens: []}]\n")
    environment = {"LAMBDA_BUILDER_AUTH_FILE": str(path), "PATH": "/usr/bin:/bin"}
    check, serve = ["lambda_builder.cli", "check-config"], ["gunicorn", "-c", "gunicorn.conf.py"]
    for command in (check, [*serve, "wsgi:app"]):
        ended = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert ended.returncode == 2
        assert "identities.0: " in ended.stderr
        assert "identities.1.tokens: " in ended.stderr


def test_a_short_token_is_warned_of_and_none_is_refused() -> None:
    short = cli("auth", "hash", sent="abc")
    assert short.stdout.startswith("ba7816bf8f01cfea414140de5dae2223")  # FIPS 180-2, B.1
    assert "it can be guessed" in short.stderr
    assert cli("auth", "hash", sent="\n").returncode == 1
