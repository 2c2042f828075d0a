"""The alerts, asked by promtool: each fires when it should and is quiet when it should not."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.promql import labels_of_series, series_of
from tests.chart.rendering import ROOT, ChartEngine
from tests.programs import needs

RUNBOOK = ROOT / "docs" / "operations.rst"
CASES: dict[str, dict[str, dict[str, Any]]] = yaml.load(
    Path(__file__).with_name("alert_cases.yaml").read_text(),
    yaml.BaseLoader,  # noqa: S506 - makes nothing but strings: 0x60 is sixty zeros here
)
PODS = {
    "a": 'namespace="builder-system",job="lb-lambda-builder",pod="a"',
    "b": 'namespace="builder-system",job="lb-lambda-builder",pod="b"',
    "other": 'namespace="elsewhere",job="lb-lambda-builder",pod="a"',
}
VALUES = {
    "prometheusRule": {
        "enabled": True,
        "runbookUrl": "https://docs.example/operations.html",
        "alertLabels": {"team": "builds"},
    }
}


@pytest.fixture(scope="module")
def rules(chart: ChartEngine) -> dict[str, dict[str, Any]]:
    (group,) = chart.one(VALUES, "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@pytest.fixture(scope="module")
def rule_file(chart: ChartEngine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(chart.one(VALUES, "PrometheusRule")["spec"]))
    return path


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


@needs("promtool")
def test_promtool_takes_the_rules(rule_file: Path) -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(rule_file))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs("promtool")
@pytest.mark.parametrize("alert", CASES)
def test_the_alert_fires_when_it_should_and_only_then(
    alert: str, rules: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    rule_file = tmp_path / "rule.yaml"
    group = {"name": "one", "rules": [rules[alert]]}  # promtool evaluates all that it is given
    rule_file.write_text(yaml.safe_dump({"groups": [group]}))
    found = alerts_at(alert, rule_file, tmp_path)
    for name, case in CASES[alert].items():
        for moment, said in case["says"].items():
            fired = found.pop((name, seconds_of(moment)), None)
            if not said:
                assert fired is None, f"{name}: fires at {moment}: {fired}"
                continue
            assert fired is not None, f"{name}: does not fire at {moment}"
            assert fired.count("Labels:") == 1, f"{name}: one alert for all replicas"
            assert said in fired, name
            assert f'severity="{rules[alert]["labels"]["severity"]}"' in fired
            assert 'team="builds"' in fired
    assert not found


def alerts_at(alert: str, rule_file: Path, folder: Path) -> dict[tuple[str, int], str]:
    """Return how promtool prints what fires, by the case and the second at which it does.

    To start it takes longer than to evaluate a case, so those of one interval share a run.
    """
    by_interval: dict[str, list[dict[str, Any]]] = {}
    for name, case in CASES[alert].items():
        test = promtools_test(alert, name, case)
        by_interval.setdefault(test["interval"], []).append(test)
    fired = {}
    for interval, tests in by_interval.items():
        path = folder / f"{interval}.yaml"
        asked = {
            "rule_files": [str(rule_file)],
            "evaluation_interval": interval,
            "tests": tests,
        }
        path.write_text(yaml.safe_dump(asked))
        result = promtool("test", "rules", str(path))
        if result.returncode != 0:
            output = result.stdout + result.stderr
            assert "got:[" in output, output
            fired |= told_in(output)
    return fired


def promtools_test(alert: str, name: str, case: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "interval": case.get("interval", "15s"),
        "input_series": [
            {"series": series_name(short), "values": values}
            for short, values in case["series"].items()
        ],
        "alert_rule_test": [
            {"eval_time": moment, "alertname": alert, "exp_alerts": []} for moment in case["says"]
        ],
    }


def told_in(output: str) -> dict[tuple[str, int], str]:
    """Read what promtool prints of alerts of which none was expected."""
    head = r"^ *name: (.*),\n *alertname: .*, time: (\w+),"
    _, *parts = re.split(head, output, flags=re.MULTILINE)
    return {
        (name, seconds_of(moment)): " ".join(told.split("got:[", 1)[1].replace('\\"', '"').split())
        for name, moment, told in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def seconds_of(duration: str) -> int:
    """Read a duration as Prometheus writes it, like ``1h30m``."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"(\d+)([smhd])", duration)
    assert "".join(map("".join, parts)) == duration
    return sum(int(number) * units[unit] for number, unit in parts)


def series_name(short: str) -> str:
    """Write out the replica in ``name{a,label="value"}``."""
    return re.sub(r"\{(\w+)", lambda found: "{" + PODS[found[1]], short)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not(
    rules: dict[str, dict[str, Any]],
) -> None:
    assert len(rules) == 26
    for alert in rules:
        said = [text for case in CASES[alert].values() for text in case["says"].values()]
        assert "" in said
        assert any(said)


def test_every_alert_reads_series_that_the_service_exports(
    rules: dict[str, dict[str, Any]], exported: Mapping[str, frozenset[str]]
) -> None:
    for name, rule in rules.items():
        for series in series_of(rule["expr"]):
            assert series in exported, name
        for series, labels in labels_of_series(rule["expr"]):
            assert labels - {"namespace", "job"} <= exported[series], name


def test_every_alert_says_what_is_wrong_with_a_figure_and_where_to_read_on(
    rules: dict[str, dict[str, Any]],
) -> None:
    anchors = set(re.findall(r"^\.\. _([\w-]+):$", RUNBOOK.read_text(), re.MULTILINE))
    sections = set()
    for rule in rules.values():
        annotations = rule["annotations"]
        assert annotations["summary"].endswith(".")
        assert "$value" in annotations["description"]
        page, section = annotations["runbook_url"].split("#")
        assert page == VALUES["prometheusRule"]["runbookUrl"]
        sections.add(section)
    assert len(sections) == 24
    assert sections <= anchors


def test_every_runbook_section_names_its_alert_and_says_what_to_look_at_and_what_to_do(
    rules: dict[str, dict[str, Any]],
) -> None:
    text = RUNBOOK.read_text()
    for name, rule in rules.items():
        anchor = rule["annotations"]["runbook_url"].split("#")[1]
        section = text.split(f".. _{anchor}:")[1].split("\n.. _")[0]
        assert name in section
        assert "**Look at**" in section
        assert "**Do**" in section


def test_a_selector_of_ones_own_takes_the_place_of_namespace_and_job(chart: ChartEngine) -> None:
    values = {"prometheusRule": {"enabled": True, "selector": 'app="x"'}}
    (group,) = chart.one(values, "PrometheusRule")["spec"]["groups"]
    for rule in group["rules"]:
        assert 'app="x"' in rule["expr"]
        assert "namespace=" not in rule["expr"]


FIRST_WORDS = {"Look", "Make", "Mend", "Nothing", "Raise", "Read", "Report", "See"}


def test_every_alert_says_what_happened_and_then_what_to_do(
    rules: dict[str, dict[str, Any]],
) -> None:
    for name, rule in rules.items():
        sentences = re.split(r"(?<=\.) (?=[A-Z])", rule["annotations"]["description"].strip())
        assert len(sentences) > 1, name
        assert sentences[-1].split()[0] in FIRST_WORDS, (name, sentences[-1])
