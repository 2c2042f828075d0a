"""tools/install.py: a venv holds what the lock pins, or one sentence says why not. No network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.programs import needs
from tools import install

SETUP_CFG = "[metadata]\nname = thing-user\n"


class Checkout:
    """A checkout with a venv, and a folder of wheels that stands for the index."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.venv = folder / ".venv"
        self.record = self.venv / "installed"
        self._script = folder / "tools" / "install.py"
        self._script.parent.mkdir()
        shutil.copy(ROOT / "tools" / "install.py", self._script)
        (folder / "setup.cfg").write_text(SETUP_CFG)
        self.lock = folder / "requirements.lock"
        self.lock.write_text(self.pin("thing"))
        (folder / "requirements-dev.lock").write_text(self.pin("uv"))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.venv], check=True)
        (self.venv / "bin" / "uv").symlink_to(Path(sys.prefix) / "bin" / "uv")
        self.record.write_text(f"run of-another-lock {sys.version}\n")

    def pin(self, name: str, tag: str = "py3-none-any") -> str:
        """Put a wheel of ``name`` there; returns the lines of a lock for it."""
        wheel = self.wheels / f"{name}-1.0-{tag}.whl"
        about = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}.py", "")
            archive.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            archive.writestr(
                f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
            )
            archive.writestr(f"{about}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"

    def install(self, what: str = "run") -> subprocess.CompletedProcess[str]:
        offline = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.wheels), "UV_OFFLINE": "1"}
        return subprocess.run(
            [sys.executable, self._script, what, "--venv", self.venv],
            env={**os.environ, **offline, "UV_CACHE_DIR": str(self.wheels.parent / "cache")},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def has(self, module: str) -> bool:
        return any(self.venv.glob(f"lib/python*/site-packages/{module}.py"))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def wanted(what: str, checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(install, "ROOT", checkout.wheels.parent)
    return install.wanted(what)


def test_a_changed_lock_is_installed_with_a_line_for_each_step(checkout: Checkout) -> None:
    done = checkout.install()
    assert checkout.has("thing")
    assert "installing what requirements.lock pins" in done.stderr
    assert " + thing" not in done.stderr


def test_a_pin_without_a_wheel_for_this_python_says_so_in_one_sentence(checkout: Checkout) -> None:
    for wheel in checkout.wheels.glob("thing*"):
        wheel.unlink()
    checkout.lock.write_text(checkout.pin("thing", "cp36-cp36m-manylinux2014_x86_64"))
    done = checkout.install()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"There is no wheel of thing==1.0 for Python {sys.version.split()[0]} on this platform: "
        "take another Python (`make PYTHON=python3.13 ...`) or move the lock (`make lock`)."
    )
    assert not checkout.record.exists()


def test_a_wheel_with_another_hash_is_not_installed(checkout: Checkout) -> None:
    checkout.lock.write_text("thing==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    done = checkout.install()
    assert done.returncode == 1
    assert "hash" in done.stderr.lower()
    assert not checkout.has("thing")


def test_after_an_installation_that_failed_the_venv_is_made_anew(checkout: Checkout) -> None:
    leftover = checkout.venv / "leftover"
    leftover.touch()
    checkout.lock.write_text("thing==2.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    assert checkout.install().returncode == 1
    assert leftover.exists(), "the lock alone changed"
    assert "making" in checkout.install().stderr
    assert not leftover.exists()


@pytest.mark.parametrize(("held", "asked"), [("run", "run"), ("dev", "dev"), ("dev", "run")])
def test_what_is_there_already_is_not_installed_again(
    held: str, asked: str, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.record.write_text(wanted(held, checkout, monkeypatch))
    done = checkout.install(asked)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_records_follow_locks_and_requirements_but_not_the_settings_of_tools(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = wanted("run", checkout, monkeypatch)
    setup_cfg = checkout.lock.with_name("setup.cfg")
    setup_cfg.write_text(SETUP_CFG + "[mypy]\nstrict = True\n")
    assert install.wanted("run") == before
    setup_cfg.write_text(SETUP_CFG + "[options]\ninstall_requires = other\n")
    assert install.wanted("run") != before
    setup_cfg.write_text(SETUP_CFG)
    checkout.lock.write_text(checkout.pin("other"))
    assert install.wanted("run") != before


def test_a_python_that_can_make_no_venv_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"cannot make a venv .*apt-get install python3-venv"):
        install.bundled_pip()


@needs("make")
def test_a_python_that_is_too_old_is_told_of(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9); $2"\n'
    )
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "--no-print-directory", "run", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        f"lambda-builder needs Python 3.11 or later, {old} is 3.9: try make PYTHON=python3.13."
    )
    assert not (tmp_path / "venv").exists()


@needs("make")
def test_make_help_lists_every_target_with_what_it_does() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for target in ("run", "test", "test-newest", "lint", "bench", "soak", "lock", "clean"):
        assert f"make {target} " in told
