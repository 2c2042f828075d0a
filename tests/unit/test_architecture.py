"""The picture of the house shows what the code imports."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DRAWN = ROOT / "docs" / "architecture.svg"
SCRIPT = ROOT / "docs" / "architecture_picture.py"


def test_the_picture_shows_the_packages_and_their_imports_as_they_are() -> None:
    drawn = runpy.run_path(str(SCRIPT))["draw"]()
    assert DRAWN.read_text() == drawn, "run: python docs/architecture_picture.py"


def test_the_picture_has_a_box_for_every_package() -> None:
    text = DRAWN.read_text()
    packages = {path.parent.name for path in (ROOT / "lambda_builder").glob("*/__init__.py")}
    for package in packages - {"devcluster"}:
        assert f">{package}<" in text or f"{package} ·" in text, package
