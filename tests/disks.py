"""Small file systems of their own, which tests may fill."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of ``size`` (as ``1m``) at ``place``; skips the test where that may not be."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk to fill: run the tests as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
