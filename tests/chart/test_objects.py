"""Every object that any values make is one that a cluster takes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate
import pytest

from tests.chart.rendering import CHART, MATRIX, NAMESPACE, ChartEngine, KubeObject

KUBERNETES_VERSIONS = ("1.30", "1.36")
"""The oldest that the chart says it needs, and a present one."""
SCHEMAS = Path(__file__).parent / "crd_schemas"
OWN_KINDS = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "LimitRange",
    "Namespace",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
    "StatefulSet",
}
CUSTOM_GROUPS = (
    "serving.knative.dev/",
    "eventing.knative.dev/",
    "sources.knative.dev/",
    "monitoring.coreos.com/",
    "keda.sh/",
)


def is_custom(found: KubeObject) -> bool:
    return str(found["apiVersion"]).startswith(CUSTOM_GROUPS)


@pytest.mark.parametrize("case", MATRIX)
def test_lint_has_nothing_to_say(case: str) -> None:
    report = helm_python.lint(CHART, dict(MATRIX[case]), strict=True, namespace=NAMESPACE)
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_object_of_kubernetes_is_valid(chart: ChartEngine, version: str) -> None:
    distinct = {
        json.dumps(found, sort_keys=True)
        for values in MATRIX.values()
        for found in chart.objects(values)
        if not is_custom(found)
    }
    kinds = set()
    for text in distinct:
        found = json.loads(text)
        kubernetes_validate.validate(found, version, strict=True)
        kinds.add(found["kind"])
    assert kinds == OWN_KINDS


def test_every_custom_object_has_only_fields_that_its_definition_has(chart: ChartEngine) -> None:
    kinds = set()
    for values in MATRIX.values():
        for found in filter(is_custom, chart.objects(values)):
            jsonschema.validate(found, custom_schema(found["kind"]))
            kinds.add(found["kind"])
    assert kinds == {path.stem for path in map(_kind_of, SCHEMAS.glob("*.json"))}


def _kind_of(path: Path) -> Path:
    return Path(json.loads(path.read_text())["properties"]["kind"]["const"])


def custom_schema(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{kind.lower()}.json").read_text())
    return schema


def test_the_check_of_custom_objects_finds_a_field_that_would_be_pruned(chart: ChartEngine) -> None:
    trigger = json.loads(json.dumps(chart.all_of({}, "Trigger")[0]))
    trigger["spec"]["delivery"]["retries"] = 10
    with pytest.raises(jsonschema.ValidationError, match="retries"):
        jsonschema.validate(trigger, custom_schema("Trigger"))


@pytest.mark.parametrize("case", MATRIX)
def test_each_object_is_in_a_namespace_under_a_name_of_its_own(
    chart: ChartEngine, case: str
) -> None:
    names: Counter[tuple[str, ...]] = Counter()
    for found in chart.objects(MATRIX[case]):
        metadata = found["metadata"]
        if found["kind"] != "Namespace":
            assert metadata["namespace"]
        names[found["kind"], found["apiVersion"], metadata.get("namespace"), metadata["name"]] += 1
        assert metadata["labels"]["app.kubernetes.io/instance"] == "lb"
    assert names.most_common(1)[0][1] == 1


def test_no_object_but_the_build_namespace_is_of_the_whole_cluster(chart: ChartEngine) -> None:
    for values in MATRIX.values():
        kinds = {found["kind"] for found in chart.objects(values)}
        assert not kinds & {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}


def test_a_long_release_name_still_makes_names_that_fit(chart: ChartEngine) -> None:
    values = {"mode": "deployment", "fullnameOverride": "x" * 63}
    for found in chart.objects(values):
        assert len(found["metadata"]["name"]) <= 63
