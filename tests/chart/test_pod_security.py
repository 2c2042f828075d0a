"""Pod Security: the check itself, the service's pods, and what the build namespace lets in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from tests.chart.pod_security import violations
from tests.chart.rendering import MATRIX, ROOT, ChartEngine, pod_templates

GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "c",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


def test_the_check_lets_a_restricted_pod_pass() -> None:
    assert violations(GOOD, "restricted") == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["securityContext", "runAsNonRoot"], False),
        (["securityContext", "seccompProfile"], None),
        (["containers", 0, "securityContext", "runAsUser"], 0),
        (["containers", 0, "securityContext", "runAsNonRoot"], False),
        (["containers", 0, "securityContext", "allowPrivilegeEscalation"], True),
        (["containers", 0, "securityContext", "capabilities"], {"drop": ["NET_RAW"]}),
        (["containers", 0, "securityContext", "capabilities"], {"drop": ["ALL"], "add": ["CHOWN"]}),
        (["volumes"], [{"name": "n", "nfs": {}}]),
    ],
)
def test_the_check_names_what_restricted_forbids(path: list[Any], value: Any) -> None:
    assert violations(_changed(path, value), "restricted")
    assert violations(_changed(path, value), "baseline") == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["hostNetwork"], True),
        (["volumes"], [{"name": "n", "hostPath": {}}]),
        (["containers", 0, "securityContext", "privileged"], True),
        (["containers", 0, "securityContext", "capabilities"], {"add": ["SYS_ADMIN"]}),
        (["containers", 0, "securityContext", "seccompProfile"], {"type": "Unconfined"}),
        (["containers", 0, "ports"], [{"hostPort": 80}]),
    ],
)
def test_the_check_names_what_baseline_forbids(path: list[Any], value: Any) -> None:
    assert violations(_changed(path, value), "baseline")


def _changed(path: list[Any], value: Any) -> dict[str, Any]:
    pod = copy.deepcopy(GOOD)
    place: Any = pod
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return pod


@pytest.mark.parametrize("case", MATRIX)
def test_the_service_runs_under_restricted_even_without_a_pod_security_context(
    chart: ChartEngine, case: str
) -> None:
    templates = list(pod_templates(chart.objects(MATRIX[case])))
    assert templates
    for kind, template in templates:
        spec = {key: value for key, value in template["spec"].items() if key != "securityContext"}
        assert violations(spec, "restricted") == []
        if kind == "Service":
            assert "securityContext" not in template["spec"], "off by default behind Knative"


@pytest.mark.parametrize("case", MATRIX)
def test_the_root_filesystem_is_read_only_and_what_is_written_has_a_volume(
    chart: ChartEngine, case: str
) -> None:
    spec = chart.service_pod(MATRIX[case])["spec"]
    (container,) = spec["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = {"journal"} if case == "statefulset" else set()
    environment = chart.settings(MATRIX[case])
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "GUNICORN_CMD_ARGS", "value": "--worker-tmp-dir=/tmp"} in container["env"]
    assert "/tmp" in mounts
    assert set(mounts.values()) == {each["name"] for each in spec["volumes"]} | claims
    for setting in ("LAMBDA_BUILDER_JOURNAL_PATH", "LAMBDA_BUILDER_JOB_TEMPLATE"):
        if setting in environment:
            assert any(environment[setting].startswith(f"{mount}/") for mount in mounts)


def test_the_builders_fit_the_level_of_the_namespace_that_they_are_said_to_need(
    chart: ChartEngine,
) -> None:
    folder = ROOT / "lambda_builder" / "manifest" / "templates"
    kaniko = yaml.safe_load((folder / "kaniko.yaml").read_text())["spec"]["template"]["spec"]
    buildkit = yaml.safe_load((folder / "buildkit.yaml").read_text())["spec"]["template"]["spec"]
    enforced = chart.one({}, "Namespace")["metadata"]["labels"][
        "pod-security.kubernetes.io/enforce"
    ]
    assert enforced == "baseline"
    assert violations(kaniko, "baseline") == []
    assert violations(buildkit, "baseline") != []
