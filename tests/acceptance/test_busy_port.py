"""A port that cannot be had is told at once, in one sentence that says what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.processes import ROOT

GUNICORN = ["-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
DEV = ["-m", "lambda_builder.cli", "dev"]


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def start(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAMBDA_BUILDER_", "K_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, "LAMBDA_BUILDER_HOST": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("arguments", [GUNICORN, DEV], ids=["gunicorn", "dev"])
def test_a_busy_port_is_told_at_once_and_in_one_sentence(
    arguments: list[str], busy_port: int
) -> None:
    ended = start(arguments, PORT=str(busy_port))
    assert ended.returncode == 2
    assert "Connection in use" not in ended.stderr, "gunicorn tried, for five seconds"
    assert "Traceback" not in ended.stderr
    told = [line for line in ended.stderr.splitlines() if line.startswith("lambda-builder")]
    assert told == [
        f"lambda-builder: port {busy_port} of 127.0.0.1 is in use: stop what listens there "
        "(ss -ltnp shows it), or set PORT to another"
    ]
    assert "http://localhost" not in ended.stdout


def test_an_address_of_another_machine_is_told_too() -> None:
    ended = start(GUNICORN, LAMBDA_BUILDER_HOST="192.0.2.1")
    assert ended.returncode == 2
    assert "set LAMBDA_BUILDER_HOST to an address of this machine" in ended.stderr
    assert "Traceback" not in ended.stderr
