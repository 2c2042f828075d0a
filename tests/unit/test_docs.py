"""The pages under docs/ say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lambda_builder.settings import Settings

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


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.rst").read_text()
    rows = dict(re.findall(r"\* - ``(\w+)``\n     - (.+)\n", page))
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        shown = rows.pop(name.upper())
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(shown.strip("`")) == default, name
        elif isinstance(default, str):
            assert shown == (f"``{default}``" if default else "(empty)"), name
    assert not rows
