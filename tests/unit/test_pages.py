"""The pages are whole: links lead somewhere, code is code, and what the code says is said so."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from lambda_builder.access import auth_file
from lambda_builder.advice import ATTEMPTS, REFUSALS
from lambda_builder.errors import FailureReason, RefusalCode
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings
from tests.programs import needs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "lambda_builder"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
OURS = ("level", "_log", "Warned")
_BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:(?:\1 +.*)?\n)+)", re.MULTILINE)


def blocks(language: str, page: str = "*.rst") -> Iterator[tuple[str, str]]:
    """Yield each block in a language with the page that it is on."""
    for path in sorted(DOCS.glob(page)):
        for _, found, text in _BLOCK.findall(path.read_text()):
            if found == language:
                yield path.name, dedent(text)


def test_sphinx_makes_the_pages_without_a_warning(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "dummy", DOCS, tmp_path],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert made.returncode == 0, made.stderr


def test_what_the_code_says_is_on_the_pages_as_it_says_it() -> None:
    wanted = runpy.run_path(str(DOCS / "reference.py"))["pages"]()
    assert len(wanted) >= 5
    for page, text in wanted.items():
        assert page.read_text() == text, f"{page.name}: run `make docs`"


@needs("bash")
def test_commands_on_the_pages_are_such_that_a_shell_reads_them() -> None:
    found = [*blocks("bash")]
    assert len(found) > 20
    for page, text in found:
        read = subprocess.run(
            ["bash", "-n"], input=text, capture_output=True, text=True, timeout=10
        )
        assert read.returncode == 0, f"{page}: {read.stderr}"


def test_python_on_the_pages_compiles() -> None:
    found = [*blocks("python")]
    assert found
    for page, text in found:
        compile(text, page, "exec")


def test_yaml_on_the_pages_is_yaml() -> None:
    found = [*blocks("yaml")]
    assert len(found) > 15
    for page, text in found:
        assert isinstance(yaml.safe_load(text), dict), page


def test_every_block_says_what_it_is_in() -> None:
    text = "".join(path.read_text() for path in DOCS.glob("*.rst"))
    known = {"bash", "console", "go", "python", "yaml"}
    assert {language for _, language, _ in _BLOCK.findall(text)} == known
    assert text.count(".. code-block::") == len(_BLOCK.findall(text))


@pytest.mark.parametrize("page", ["security.rst", "tenants.rst"])
def test_an_auth_file_on_a_page_is_one_that_the_service_takes(page: str, tmp_path: Path) -> None:
    [text] = [text for _, text in blocks("yaml", page) if text.startswith("identities:")]
    for name in re.findall(r"(?:secret_file|ca_file|token_file): ([^,}\n ]+)", text):
        secret = tmp_path / Path(name).name
        secret.write_text("a secret of thirty-two characters")
        text = text.replace(name, str(secret))
    path = tmp_path / "auth.yaml"
    path.write_text(text)
    assert auth_file.read(path).policies


@pytest.mark.parametrize("page", ["from-jobsink.rst", "job-templates.rst"])
def test_a_job_template_on_a_page_is_one_that_the_service_takes(page: str, tmp_path: Path) -> None:
    found = [text for _, text in blocks("yaml", page) if "kind: Job\n" in text]
    assert len(found) == 1
    path = tmp_path / "job.yaml"
    path.write_text(found[0])
    assert JobTemplate.from_settings(Settings(job_template=path))


def test_there_is_advice_for_every_refusal_and_every_failed_attempt() -> None:
    assert set(REFUSALS) == set(RefusalCode)
    assert set(ATTEMPTS) == set(FailureReason)
    for said in (*REFUSALS.values(), *ATTEMPTS.values()):
        assert re.fullmatch(r"[A-Z].*\.", said), said
        assert said.count("`") % 2 == 0, said


def logged(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of what a module logs, each with its level."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if getattr(node.func, "attr", getattr(node.func, "id", "")) not in (*LEVELS, *OURS):
            continue
        called = ast.unparse(node.func)
        owner, _, level = called.rpartition(".")
        if level in LEVELS and (owner == "log" or owner.startswith("structlog.get_logger(")):
            given = node.args[0]
        elif called == "level":  # of pipeline/announcements.py, which takes it from the state
            given, level = node.args[0], "info"
        elif called == "_log" and len(node.args) > 1:  # of steering/command_events.py
            given, level = node.args[1], "warning"
        elif called == "Warned":  # of server/start_warnings.py
            given, level = node.args[0], "warning"
        else:
            continue
        if isinstance(given, ast.Name) and path.name in ("command_events.py", "app.py"):
            continue  # within _log, and of the Warned
        names = [each.value for each in ast.walk(given) if isinstance(each, ast.Constant)]
        assert names, f"{path}:{node.lineno}: an event whose name nobody can look up"
        yield from ((str(name), level.replace("exception", "error")) for name in names)


def test_every_log_event_is_explained_and_none_that_is_not_there() -> None:
    rows = re.findall(r"   \* - ``(\w+)``\n     - (\w+)\n", (DOCS / "log-events.rst").read_text())
    explained = dict(rows)
    assert len(explained) == len(rows)
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if "devcluster" not in path.parts:
            for name, level in logged(path):
                found.setdefault(name, set()).add(level)
    assert len(found) > 80
    assert set(explained) == set(found)
    for name, level in explained.items():
        assert level in found[name], name
