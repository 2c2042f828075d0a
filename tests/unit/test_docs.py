"""The pages under docs/ say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_cell_of_the_delivery_table_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "delivery.rst").read_text()
    named = set(re.findall(r"``(test_\w+)``", page))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", tests))
    assert len(named) >= 15
    assert named <= defined, named - defined


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.rst")))
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for target in re.findall(r"`[^`]*<([\w./-]+\.rst)(?:#[\w-]+)?>`_", text):
        assert (ROOT / "docs" / target).exists(), f"{page} links to {target}"
