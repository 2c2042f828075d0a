"""The image's Dockerfile and lock, and the Dockerfile's steps in a clean folder.

There is no Docker engine here: what a linter would say is checked by hand, and the steps are run
with the packages that are installed in place of those that the lock would fetch.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from tests.chart.dockerfile import Stage, command, sources, stages
from tests.chart.rendering import ROOT, ChartEngine

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
"""
IMPORT_ALL = """
import importlib, pkgutil, lambda_builder
for module in pkgutil.walk_packages(lambda_builder.__path__, "lambda_builder."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def image() -> list[Stage]:
    return stages(ROOT / "Dockerfile")


@pytest.fixture(scope="module")
def metadata() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_the_base_is_one_slim_python_pinned_to_its_patch(
    image: list[Stage], metadata: ConfigParser
) -> None:
    names = {stage.name for stage in image}
    (base,) = {stage.base for stage in image} - names
    pinned = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-bookworm", base)
    assert pinned
    assert f"Programming Language :: Python :: {pinned[1]}" in metadata["metadata"]["classifiers"]
    assert len(image) > 2


def test_everything_that_is_copied_exists_and_reaches_the_builder(image: list[Stage]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source for stage in image for step in stage.all_of("COPY") for source in sources(step)
    }
    assert copied == let_in
    for source in copied:
        assert (ROOT / source).exists(), source


def test_the_last_stage_takes_only_what_was_built_and_runs_as_the_charts_user(
    image: list[Stage], chart: ChartEngine
) -> None:
    (container,) = chart.service_pod({})["spec"]["containers"]
    security = container["securityContext"]
    last = image[-1]
    assert last.last("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert last.steps.index(("USER", last.last("USER"))) > max(
        last.steps.index(step) for step in last.steps if step[0] in ("COPY", "RUN")
    )
    assert last.last("EXPOSE") == str(container["ports"][0]["containerPort"])
    assert last.last("HEALTHCHECK") == "NONE"
    for run in last.all_of("RUN"):
        assert not re.search(r"\b(pip|apt|apt-get|gcc|curl|wget)\b", run)


def test_the_image_is_labelled(image: list[Stage]) -> None:
    labels = image[-1].last("LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_no_step_is_one_that_a_linter_warns_of(image: list[Stage]) -> None:
    for stage in image:
        for instruction, arguments in stage.steps:
            assert instruction != "ADD"
            if instruction == "RUN":
                assert not re.search(r"\b(sudo|cd|apt|latest)\b", arguments)
                assert "|" not in arguments, "a pipe hides failures without pipefail"
            if instruction == "WORKDIR":
                assert arguments.startswith("/")
            if instruction in ("CMD", "ENTRYPOINT"):
                assert command(arguments)
            if instruction in ("ENV", "ARG"):
                assert not re.search("(?i)secret|password|token", arguments)


def test_what_is_installed_is_wheels_with_hashes_and_leaves_no_cache(image: list[Stage]) -> None:
    build = next(stage for stage in image if stage.name == "build")
    assert "PIP_NO_CACHE_DIR=1" in build.last("ENV")
    fetching = [
        step
        for run in build.all_of("RUN")
        for step in run.split("&&")
        if re.search(r"\bpip\b.*\b(install|wheel)\b", step) and "--no-index" not in step
    ]
    assert len(fetching) == 1
    assert "--require-hashes --only-binary=:all:" in fetching[0]
    assert "requirements.lock" in fetching[0]


def test_the_images_steps_make_a_service_that_starts_from_a_clean_folder(
    image: list[Stage], metadata: ConfigParser, tmp_path: Path
) -> None:
    source, app, packages = tmp_path / "src", tmp_path / "app", tmp_path / "packages"
    build = next(stage for stage in image if stage.name == "build")
    _copy(build, source)
    _copy(image[-1], app)
    subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "--quiet", "build", "--build-lib", packages],
        cwd=source,
        check=True,
        capture_output=True,
    )
    ours = _files(ROOT / "lambda_builder")
    left_out = {name for name in ours if name.startswith("devcluster/")}
    assert left_out
    assert _files(packages / "lambda_builder") == ours - left_out

    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", *arguments],  # without site: nor what is installed as editable
            cwd=app,
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin",
                "PYTHONPATH": os.pathsep.join([str(packages), *site.getsitepackages()]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "KUBECONFIG": str(kubeconfig),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    checked = run(*_entry_point(image), "--check-config")
    assert checked.returncode == 0, checked.stderr
    imported = run("-c", IMPORT_ALL)
    assert imported.returncode == 0, imported.stderr
    developing = run("-c", _console_script(metadata), "dev")
    assert developing.returncode == 1
    assert developing.stderr == (
        "Error: the embedded cluster is not part of the image: give it a real one with KUBECONFIG "
        "and run `lambda-builder serve`\n"
    )
    assert {path.name for path in app.iterdir()} == {
        "gunicorn.conf.py",
        "sbom.cdx.json",
        "wsgi.py",
    }


def _copy(stage: Stage, folder: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept_out = {line for line in lines if line and line[0] not in "#!*"}

    def ignored(within: str, names: list[str]) -> list[str]:
        place = Path(within).relative_to(ROOT)
        return [name for name in names if str(place / name) in kept_out or name == "__pycache__"]

    folder.mkdir()
    for step in stage.all_of("COPY"):
        for name in sources(step):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, folder)


def _files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(folder)) for path in found}


def _entry_point(image: list[Stage]) -> list[str]:
    program, *arguments = command(image[-1].last("CMD"))
    return ["-m", program, *arguments]


def _console_script(metadata: ConfigParser) -> str:
    """Return the code that the script ``lambda-builder`` of an installed package runs."""
    (script,) = metadata["options.entry_points"]["console_scripts"].strip().splitlines()
    module, _, name = script.partition("=")[2].strip().partition(":")
    return f"from {module} import {name}; {name}()"


def test_the_chart_runs_the_version_that_the_image_has(image: list[Stage]) -> None:
    chart = yaml.safe_load((ROOT / "helm" / "lambda-builder" / "Chart.yaml").read_text())
    (version,) = (arg for arg in image[-1].all_of("ARG") if arg.startswith("VERSION="))
    assert version == f"VERSION={chart['appVersion']}"
    assert (
        f'__version__ = "{chart["appVersion"]}"'
        in (ROOT / "lambda_builder" / "__init__.py").read_text()
    )
