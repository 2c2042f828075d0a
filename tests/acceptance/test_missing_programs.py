"""A machine without the programs that pip cannot bring: what a run of the tests says there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

SUITE = """
from tests.programs import needs

@needs("promtool")
def test_one(): ...

@needs("promtool")
def test_another(): ...

def test_the_rest(): ...
"""


def run_of(suite: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(suite)
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    empty = folder / "bin"
    empty.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "setup.cfg"), str(folder)],
        cwd=folder,
        env={**kept, "PATH": str(empty), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("environment", [{}, {"CI": "false"}])
def test_what_needs_a_missing_program_is_skipped_and_the_last_lines_say_how_to_get_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = run_of(SUITE, tmp_path, **environment)
    assert done.returncode == 0, done.stdout
    told, counts = done.stdout.splitlines()[-2:]
    assert told == ("2 tests were skipped: promtool is not installed: apt-get install prometheus")
    assert "1 passed, 2 skipped" in counts


def test_with_ci_a_missing_program_fails_its_tests(tmp_path: Path) -> None:
    done = run_of(SUITE, tmp_path, CI="true")
    assert done.returncode == 1, done.stdout
    assert "promtool is not installed: apt-get install prometheus" in done.stdout
    assert "1 passed, 2 errors" in done.stdout.splitlines()[-1]
