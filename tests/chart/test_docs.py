"""The pages for operators say what the chart and the service really have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import helm_python
import pytest
import yaml

from tests.chart.rendering import ROOT, ChartEngine

PAGES = [ROOT / "docs" / f"{name}.rst" for name in ("install", "operations", "upgrading")]
METRICS = ROOT / "docs" / "metrics.rst"
HOW_TO = [
    ROOT / "docs" / f"{name}.rst" for name in ("private-registries", "tenants", "from-jobsink")
]
GROUPS = (
    "config|knative|triggers|broker|build|journal|networkPolicy|otel|autoscaling|prometheusRule"
)


def value_files(text: str) -> Iterator[dict[str, Any]]:
    """Yield the indented blocks of a page that are YAML."""
    for block in re.findall(r"code-block:: yaml\n\n((?:(?:  .*)?\n)+)", text):
        yield yaml.safe_load(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_value_that_a_page_names_exists(chart: ChartEngine, page: Any) -> None:
    text = page.read_text()
    named = re.findall(rf"``((?:{GROUPS})\.[\w.]+)[^`]*``", text.replace("journal.sqlite3", ""))
    assert named
    for path in named:
        assert _in_schema(chart.schema, path.split(".")), path


def _in_schema(schema: dict[str, Any], steps: list[str]) -> bool:
    for step in steps:
        if step not in schema.get("properties", {}):
            return False
        schema = schema["properties"][step]
    return True


def test_the_values_of_the_install_page_render(chart: ChartEngine) -> None:
    blocks = list(value_files(PAGES[0].read_text()))
    assert len(blocks) == 5
    for values in blocks:
        assert chart.objects(values)


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.name)
def test_the_settings_that_a_how_to_page_gives_are_values_of_the_chart(
    chart: ChartEngine, page: Any
) -> None:
    blocks = [values for values in value_files(page.read_text()) if "config" in values]
    assert blocks
    for values in blocks:
        assert chart.objects(values)


def test_the_commands_of_the_install_page_set_values_that_there_are(chart: ChartEngine) -> None:
    commands = PAGES[0].read_text().split("helm install")[1:]
    assert len(commands) == 2
    for command in commands:
        pairs = re.findall(r"--set (\S+)", command.split("\n\n")[0])
        assert pairs
        assert chart.objects(helm_python.parse_set_string(",".join(pairs)))


def test_every_series_that_the_service_exports_is_explained(
    exported: Mapping[str, frozenset[str]],
) -> None:
    text = METRICS.read_text()
    for name in exported:
        if name.startswith(("process_", "python_")) or name.endswith("_created"):
            continue
        family = re.sub("(?<=_seconds)_(bucket|count|sum)$", "", name)
        assert f"``{family}``" in text, family
