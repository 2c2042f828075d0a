"""The Grafana dashboard: every query names series that the service exports, and can be parsed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.promql import labels_of_series, series_of
from tests.chart.rendering import ChartEngine
from tests.programs import needs

VALUES = {"grafanaDashboard": {"enabled": True, "annotations": {"grafana_folder": "Builds"}}}
VARIABLES = {
    "$namespace": "n",
    "$job": "j",
    "$pod": ".*",
    "$__rate_interval": "5m",
    "$__range": "3h",
}
FROM_THE_SCRAPE = {"namespace", "job", "pod"}
UNITS = {"short", "s", "percentunit", "reqps", "ops", "bytes"}


@pytest.fixture(scope="module")
def dashboard(chart: ChartEngine) -> dict[str, Any]:
    (found,) = (
        each
        for each in chart.all_of(VALUES, "ConfigMap")
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    )
    assert found["metadata"]["annotations"] == {"grafana_folder": "Builds"}
    ((name, text),) = found["data"].items()
    assert name.endswith(".json")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_query_names_series_and_labels_that_the_service_exports(
    panels: list[dict[str, Any]], exported: Mapping[str, frozenset[str]]
) -> None:
    assert len(queries(panels)) > 30
    for query in queries(panels):
        assert series_of(query)
        for series in series_of(query):
            assert series in exported, query
        for series, labels in labels_of_series(query):
            assert labels - FROM_THE_SCRAPE <= exported[series], query


def test_every_legend_and_grouping_names_a_label_of_its_series(
    panels: list[dict[str, Any]], exported: Mapping[str, frozenset[str]]
) -> None:
    for panel in panels:
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for group in re.findall(r"\bby \(([^)]*)\)", target["expr"]):
                labels |= {name.strip() for name in group.split(",")}
            known = {label for series in series_of(target["expr"]) for label in exported[series]}
            assert labels <= known | FROM_THE_SCRAPE, panel["title"]


@needs("promtool")
def test_every_query_is_promql(panels: list[dict[str, Any]], tmp_path: Path) -> None:
    rules = []
    for number, query in enumerate(queries(panels)):
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        assert "$" not in query
        rules.append({"record": f"panel:{number}", "expr": query})
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_panel_says_what_it_shows_in_which_unit(panels: list[dict[str, Any]]) -> None:
    titles = [panel["title"] for panel in panels]
    assert len(titles) == len(set(titles))
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


def test_every_panel_uses_the_data_source_and_the_release_that_were_chosen(
    dashboard: dict[str, Any], panels: list[dict[str, Any]]
) -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", "namespace", "job", "pod"]
    for panel in panels:
        assert panel["datasource"] == source
        for target in panel["targets"]:
            assert target["datasource"] == source
            selectors = re.findall(r"\{([^}]*)\}", target["expr"])
            assert selectors
            for selector in selectors:
                assert selector.startswith('namespace="$namespace",job="$job",pod=~"$pod"')


def test_panels_do_not_lie_on_each_other(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_all_that_the_service_counts_is_on_the_dashboard(
    panels: list[dict[str, Any]], exported: Mapping[str, frozenset[str]]
) -> None:
    def families(names: Iterable[str]) -> set[str]:
        own = (name for name in names if not name.startswith(("process_", "python_")))
        return {re.sub("_(bucket|sum|total|created)$|(?<=_seconds)_count$", "", n) for n in own}

    shown = {series for query in queries(panels) for series in series_of(query)}
    assert families(exported) == families(shown)
