"""Every command of the tutorial and the README, typed in a fresh clone, prints what they say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from tests.processes import ROOT, free_port
from tests.programs import needs
from tests.waiting import wait_until

VARIES = {
    r"\\\.\\\.\\\.": ".*",  # "..." stands for anything
    r"127\\\.0\\\.0\\\.1:\d+": r"127\\.0\\.0\\.1:\\d+",
    r"lambda\\-builder\\-\w+/kubeconfig": r"lambda\\-builder\\-\\w+/kubeconfig",
    r"\d{4}\\-\d\d\\-\d\dT\S+Z": r"\\d{4}-\\d\\d-\\d\\dT\\S+Z",
    r"build\\-customer\\-3\\-parser\\-3\\-\w+": r"build-customer-\\d+-parser-\\d+-[0-9a-f]{10}",
}


@dataclass(frozen=True)
class Example:
    """A command of a page and what it prints."""

    command: str
    output: str

    def shown_by(self, output: str) -> bool:
        """Whether ``output`` is of the printed shape, whatever the widths of columns."""
        expected = re.escape(" ".join(self.output.split()))
        for varying, pattern in VARIES.items():
            expected = re.sub(varying, pattern, expected.replace(r"\ ", " "))
        return re.fullmatch(expected, " ".join(output.split())) is not None


def examples(page: str) -> dict[str, Example]:
    """Return a page's examples by their commands, in order."""
    found: dict[str, Example] = {}
    for block in re.findall(r"::(?: console)?\n\n((?:  .*\n)+)", (ROOT / page).read_text()):
        for command, output in re.findall(r"^  \$ (.*)\n((?:  (?!\$ ).*\n)*)", block, re.M):
            found[command] = Example(command, output)
    return found


EXAMPLES = examples("docs/tutorial.rst")
RUN = EXAMPLES.pop("make run")
SENDERS = [
    (language, dedent(code))
    for language, code in re.findall(
        r"code-block:: (bash|python)\n\n((?:(?:  .*)?\n)+)",
        (ROOT / "docs" / "send-events.rst").read_text(),
    )
]
"""How to send events, each a script that ends with 0 when it was taken."""


class Newcomer:
    """Types commands in a fresh clone, which has this run's packages instead of fetching them."""

    def __init__(self, folder: Path, port: int) -> None:
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True, timeout=60)
        (folder / ".venv").symlink_to(sys.prefix)
        self._folder = folder
        self._port = port
        kept = ("HOME", "LANG", "PATH", "TMPDIR")
        self._environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "LAMBDA_BUILDER_HOST": "127.0.0.1",
            "LAMBDA_BUILDER_URL": f"http://localhost:{port}",
            "MAKEFLAGS": "INSTALL=:",
            "PORT": str(port),
            "PYTHONPATH": str(folder),
            "PYTHONUNBUFFERED": "1",
        }

    def starts(self, command: str) -> subprocess.Popen[str]:
        """Start a command of a page in a process group of its own."""
        return subprocess.Popen(
            ["bash", "-c", command.replace("localhost:8080", f"localhost:{self._port}")],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def types(self, command: str) -> str:
        """Run a command of a page to its end; returns what it prints."""
        with self.starts(command) as process:
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return output.replace(f"localhost:{self._port}", "localhost:8080")

    def runs(self, language: str, code: str) -> None:
        """Run a script that finds the service at ``$SERVICE``."""
        program = {"bash": ["bash", "-ec"], "python": [sys.executable, "-c"]}[language]
        environment = {**self._environment, "SERVICE": f"http://localhost:{self._port}"}
        done = subprocess.run(
            [*program, code], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path / "lambda-builder", free_port())


@needs("bash")
@needs("curl")
@needs("git")
@needs("make")
def test_every_command_of_the_tutorial_and_every_way_to_send_does_what_it_should(
    newcomer: Newcomer,
) -> None:
    assert len(EXAMPLES) >= 9
    assert {language for language, _ in SENDERS} == {"bash", "python"}
    with newcomer.starts(RUN.command) as service:
        try:
            said = reads_until(service, "service_started")
            assert RUN.shown_by(said), said
            for example in EXAMPLES.values():
                prints_what_is_shown(newcomer, example)
            for language, code in SENDERS:
                newcomer.runs(language, code)
        finally:
            os.killpg(service.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
            service.communicate(timeout=30)


def test_the_readme_shows_two_commands_of_the_tutorial() -> None:
    shown = examples("README.rst")
    assert len(shown) == 2
    assert shown.pop("make run").shown_by(RUN.output)
    for command, example in shown.items():
        assert example == EXAMPLES[command]


def prints_what_is_shown(newcomer: Newcomer, example: Example) -> None:
    printed = newcomer.types(example.command)
    if "-X" in example.command:  # once is enough
        assert example.shown_by(printed), f"{example} but: {printed}"
        return

    def soon() -> bool:
        nonlocal printed
        printed = newcomer.types(example.command)
        return example.shown_by(printed)

    wait_until(soon, lambda: f"{example} but: {printed}", 20)


def reads_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what ``process`` prints before it prints ``word``, with the readme's port."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += re.sub(r"localhost:\d+", "localhost:8080", line)
        if word in line:
            return said
    raise AssertionError(f"ended without {word}: {said}")


@needs("bash")
@needs("git")
@needs("make")
def test_make_test_would_lint_and_run_the_suite(newcomer: Newcomer) -> None:
    assert "``make test``" in (ROOT / "README.rst").read_text()
    planned = newcomer.types("make --dry-run test")
    for step in ("ruff check", "mypy", "lint-imports", "pytest"):
        assert step in planned
