"""The pages under docs/ say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from lambda_builder.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("page", "least"),
    [("delivery.rst", 15), ("security.rst", 15), ("story.rst", 30), ("testing.rst", 6)],
)
def test_every_test_that_a_page_names_exists(page: str, least: int) -> None:
    named = set(re.findall(r"``(test_\w+)``", (ROOT / "docs" / page).read_text()))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", tests))
    assert len(named) >= least
    assert named <= defined, named - defined


def test_every_difference_of_the_embedded_cluster_is_listed_with_its_test() -> None:
    page = (ROOT / "docs" / "testing.rst").read_text()
    listed = set(re.findall(r"   \* - (.+)\n     - ``(test_\w+)``\n", page))
    tests = (ROOT / "tests" / "cluster" / "test_cluster.py").read_text()
    marked = re.findall(r"mark\.differs\(\"(.+)\"\)\n(?:@.+\n)*def (test_\w+)", tests)
    assert len(marked) == tests.count("mark.differs")
    assert listed == set(marked)


def test_every_criterion_of_the_story_has_a_test() -> None:
    page = (ROOT / "docs" / "story.rst").read_text()
    rows = re.findall(r"   \* - ((?:.|\n)+?)\n     - ((?:.|\n)+?)(?=\n   \*|\n\n|\Z)", page)
    criteria = [row for row in rows if row[1] != "shown by"]
    assert len(criteria) >= 35
    for criterion, shown_by in criteria:
        assert "``test_" in shown_by or shown_by == "the same", criterion


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
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        shown = rows.pop(name.upper())
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(shown.strip("`")) == default, name
        elif isinstance(default, str):
            assert shown == (f"``{default}``" if default else "(empty)"), name
    assert not rows


def test_every_picture_of_a_page_is_there_and_small() -> None:
    shown = set()
    for page in (ROOT / "README.rst", *(ROOT / "docs").glob("*.rst")):
        for name in re.findall(r"^\.\. image:: (\S+)$", page.read_text(), re.MULTILINE):
            picture = page.parent / name
            assert picture.stat().st_size < 150_000, f"{page.name} shows {name}"
            shown.add(picture.name)
    assert "page.png" in shown
