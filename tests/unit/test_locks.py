"""The locks hold what setup.cfg asks for, whatever an index serves today."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.processes import ROOT

LOCKED = re.compile(
    r"^([\w.-]+)==(\S+)(?: ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)
EXTRAS = {
    "requirements.lock": ["otlp", "postgres"],
    "requirements-dev.lock": ["otlp", "postgres", "dev", "docs"],
}
LINUX = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "os_name": "posix",
}


def locked(name: str) -> dict[str, str]:
    return {found[1]: found[2] for found in LOCKED.finditer((ROOT / name).read_text())}


def asked(name: str) -> list[Requirement]:
    """Return what setup.cfg asks for in the lock ``name``."""
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    options = [metadata["options"]["install_requires"]]
    options += [metadata["options.extras_require"][extra] for extra in EXTRAS[name]]
    return [Requirement(line) for option in options for line in option.split("\n") if line]


@pytest.mark.parametrize("name", EXTRAS)
def test_every_pin_has_hashes_and_none_names_an_index(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(locked(name)) == len(re.findall(r"^[a-z]", text, re.MULTILINE)) > 50
    assert "://" not in text


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_has_all_that_setup_cfg_asks_for_in_the_versions_it_allows(
    name: str, python: str
) -> None:
    pins = locked(name)
    environment = {**LINUX, "python_version": python, "python_full_version": f"{python}.0"}
    assert "setuptools" in pins, "builds our own wheel"
    for requirement in needed(asked(name), pins, environment):
        package = canonicalize_name(requirement.name)
        assert package in pins, f"{package} is not in {name}: run `make lock`"
        assert requirement.specifier.contains(pins[package], prereleases=True), (
            f"{name} has {package} {pins[package]}, not {requirement}: run `make lock`"
        )


def needed(
    requirements: list[Requirement], pins: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[Requirement]:
    """Yield ``requirements`` and what they need, as told by each pin that is installed here."""
    seen, waiting = set(), list(requirements)
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        yield requirement
        for dependency in dependencies(requirement, pins):
            extras = requirement.extras or {""}
            if dependency.marker is None or any(
                dependency.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                waiting.append(dependency)


def dependencies(requirement: Requirement, pins: Mapping[str, str]) -> list[Requirement]:
    try:
        installed = distribution(requirement.name)
    except PackageNotFoundError:
        return []
    if installed.version != pins.get(canonicalize_name(requirement.name)):
        return []
    return [Requirement(text) for text in installed.requires or ()]


def test_tests_run_with_the_versions_that_the_image_has() -> None:
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()


def test_the_list_of_what_the_image_installs_is_that_of_its_lock() -> None:
    bom = json.loads((ROOT / "sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    listed = {each["name"]: each["version"] for each in bom["components"]}
    assert listed == locked("requirements.lock"), "run `make sbom`"
    assert {each["purl"] for each in bom["components"]} == {
        f"pkg:pypi/{name}@{version}" for name, version in listed.items()
    }
