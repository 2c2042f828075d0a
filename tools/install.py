"""Make a venv hold exactly what a lock pins: ``python tools/install.py [--venv PATH] WHAT``.

WHAT is ``run`` (what the image has), ``dev`` (that, and what tests and linters need) or ``newest``
(the newest releases that setup.cfg allows, whatever the locks say). Nothing is done when the venv
holds that already. The Makefile calls it; it needs the standard library alone, and takes care that
only one of it works on a checkout at a time.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import time
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"run": "requirements.lock", "dev": "requirements-dev.lock"}
EXTRAS = "dev,docs,otlp,postgres"
DECLARED = ("metadata", "options")  # the sections of setup.cfg that an installation follows
VERSION = sys.version.split()[0]
UV_PIN = re.compile(r"^uv==(\S+) \\\n(?:    --hash=.*\n)+", re.MULTILINE)
NO_WHEEL = re.compile(r"(\S+==\S+) has no (?:usable )?wheels")


def main() -> None:
    """Install what the command line says, or end with one sentence that says why not."""
    parser = argparse.ArgumentParser(description="Make a venv hold exactly what a lock pins.")
    parser.add_argument("what", choices=[*LOCKS, "newest"])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    arguments = parser.parse_args()
    folder = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # let go of when the process ends
    try:
        Installation(arguments.venv.absolute(), arguments.what).complete()
    except KeyboardInterrupt:
        sys.exit("Interrupted: the next make starts anew.")


class Installation:
    """One venv and what it shall hold.

    The venv keeps a record of what was installed, written when all of it was: after an interrupted
    installation, with another Python or a changed lock none fits, and it is done anew.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._folder = folder
        self._what = what
        self._python = folder / "bin" / "python"
        self._record = folder / "installed"
        self._pin = folder / "uv.txt"

    def complete(self) -> None:
        """Install what is not there yet; ends the process when that cannot be done."""
        held = self._record.read_text() if self._record.exists() else ""
        if self._what == "run" and held.startswith("dev "):
            self._what = "dev"  # which has all of it
        if self._what in LOCKS and held == wanted(self._what):
            return
        begun = time.monotonic()
        pip = bundled_pip()
        self._record.unlink(missing_ok=True)
        if not held.endswith(f" {sys.version}\n"):
            self._make_venv(pip)
        self._install()
        self._record.write_text(wanted(self._what))
        say(f"{os.path.relpath(self._folder)} is ready after {time.monotonic() - begun:.0f} s")

    def _make_venv(self, pip: Path) -> None:
        say(f"making {os.path.relpath(self._folder)} with Python {VERSION}")
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(self._folder)])
        pin = uv_pin()
        say(f"fetching the installer, uv {pin[1]}")
        self._pin.write_text(pin[0])
        run(
            [
                *(str(self._python), f"{pip}/pip", "install"),
                *("--quiet", "--disable-pip-version-check"),
                *("--only-binary", ":all:", "--require-hashes", "--requirement", str(self._pin)),
            ]
        )

    def _install(self) -> None:
        if self._what not in LOCKS:
            say("installing the newest releases that setup.cfg allows")
            self._uv("install", "--upgrade", "setuptools", "--editable", f".[{EXTRAS}]")
            return
        lock = LOCKS[self._what]
        say(f"installing what {lock} pins")
        self._pin.write_text(uv_pin()[0])
        self._uv("sync", "--require-hashes", "--only-binary", ":all:", lock, str(self._pin))
        self._uv("install", "--no-deps", "--no-build-isolation", "--editable", ".")

    def _uv(self, command: str, *arguments: str) -> None:
        uv = str(self._folder / "bin" / "uv")
        # As pip does: a company's own authority is in the system's certificates alone.
        run([uv, "pip", command, "--system-certs", "--python", str(self._python), *arguments])


def wanted(what: str) -> str:
    """Return the record of a venv that holds ``what``: from which inputs, and with which Python."""
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    inputs = [Path(__file__).read_text(), uv_pin()[0]]
    inputs += [str(dict(metadata[name])) for name in metadata if name.startswith(DECLARED)]
    if what in LOCKS:
        inputs.append((ROOT / LOCKS[what]).read_text())
    return f"{what} {hashlib.sha256(''.join(inputs).encode()).hexdigest()} {sys.version}\n"


def uv_pin() -> re.Match[str]:
    """Return the lock's lines of uv; its first group is the version."""
    found = UV_PIN.search((ROOT / LOCKS["dev"]).read_text())
    if found is None:
        sys.exit(f"{LOCKS['dev']} does not pin uv: run `make lock`.")
    return found


def bundled_pip() -> Path:
    """Return the wheel of pip that comes with Python, where ``ensurepip`` looks for it."""
    found = find_spec("ensurepip")
    folders = [Path(found.origin).parent / "_bundled"] if found and found.origin else []
    if elsewhere := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.insert(0, Path(elsewhere))
    wheels = [wheel for folder in folders for wheel in folder.glob("pip-*.whl")]
    if found is None or not wheels:
        sys.exit(f"{sys.executable} cannot make a venv (Debian: `apt-get install python3-venv`).")
    return wheels[0]


def run(command: list[str]) -> None:
    """Run ``command`` in the checkout and pass on what it says but for the list of packages."""
    said = []
    with subprocess.Popen(  # noqa: S603 - fixed arguments
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=sys.stderr, text=True
    ) as process:
        assert process.stderr is not None  # noqa: S101 - for the type checker
        for line in process.stderr:
            said.append(line)
            if not line.startswith((" + ", " - ", " ~ ")):
                sys.stderr.write(f"  {line}")
    if process.returncode:
        missing = NO_WHEEL.search("".join(said))
        sys.exit(
            f"There is no wheel of {missing[1]} for Python {VERSION} on this "
            "platform: take another Python (`make PYTHON=python3.13 ...`) or move the lock "
            "(`make lock`)."
            if missing
            else f"Nothing was installed: {Path(command[0]).name} failed, as said above."
        )


def say(line: str) -> None:
    """Print a line of progress at once."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
