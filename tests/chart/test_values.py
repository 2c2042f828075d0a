"""values.yaml and its schema: closed, described, and of one mind with the service's settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml
from pydantic import SecretStr

from lambda_builder.settings import Rate, Settings
from tests.chart.rendering import CHART, ChartEngine

DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
FREE = {
    "global",
    "affinity",
    "tolerations[]",
    "extraEnv[].valueFrom",
    "extraVolumes[]",
    "extraVolumeMounts[]",
    "build.networkPolicy.extraEgress[]",
    "networkPolicy.ingress.extraFrom[]",
    "networkPolicy.egress.extra[]",
}
"""What is handed to Kubernetes as it is, and checked there."""
IMPLIED = {
    "namespace": "knative-lambda",
    "service_account": "lb-lambda-builder-build",
    "max_active_jobs": 50,
    "journal_path": "/var/lib/lambda-builder/journal.sqlite3",
    "sink_url": "http://broker-ingress.knative-eventing.svc.cluster.local/builder-system/lb-lambda-builder",
    "handoff_url": "http://broker-ingress.knative-eventing.svc.cluster.local/builder-system/lb-lambda-builder",
}
"""Settings that the chart works out, with no values at all."""
OTHERS: dict[str, Any] = {
    "workerCount": 7,
    "workerCountMax": 9,
    "httpThreads": 32,
    "streamsMax": 6,
    "cpuAffinity": "off",
    "queueSize": 2_000_000 // 2,
    "queueDiscipline": "fair",
    "maxRetries": 5,
    "retryBaseSeconds": 0.25,
    "retryMaxSeconds": 12.5,
    "drainSeconds": 10.5,
    "resultTtlSeconds": 60,
    "resultMax": 12_345_678,
    "queueMaxBytes": 33_554_432,
    "resultMaxBytes": 134_217_728,
    "namespace": "elsewhere",
    "kubeApiTimeoutSeconds": 2.5,
    "jobTemplate": "/somewhere/template.yaml",
    "contextUrl": "s3://b/${parser_id}.tgz",
    "image": "r/${hash}",
    "registrySecret": "push-${third_party_id_name}",
    "pullSecret": "pull",
    "cacheSecret": "cache-${third_party_id_name}",
    "cacheRepo": "r/${third_party_id_repository}/cache",
    "allowedContextPrefixes": ["s3://b/${third_party_id}/", "https://h/"],
    "allowedRegistries": ["r.example.com/x"],
    "runtimeClass": "gvisor",
    "userNamespaces": True,
    "provenanceBuilderId": "https://ci.example.com",
    "provenanceKeyFile": "/somewhere/key.pem",
    "serviceAccount": "builder",
    "maxActiveJobs": 3,
    "duplicatePolicy": "skip",
    "kueueQueue": "lane",
    "ack": "created",
    "ackTimeoutSeconds": 5,
    "replyMode": "empty",
    "strictCloudevents": True,
    "buildEventTypes": ["a.b", "c.d"],
    "maxBodyBytes": 5_242_880,
    "sinkUrl": "http://sink",
    "ceOverrides": {"extensions": {"team": "builds"}},
    "deadLetterUrl": "http://dead",
    "handoffUrl": "http://again",
    "journalPath": "/somewhere/journal",
    "leaseSeconds": 30.5,
    "authFile": "/somewhere/auth.yaml",
    "readOnly": True,
    "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
    "tenantQueueShare": 0.25,
    "tenantRate": "10/20",
    "rate": "0.5/3",
    "failureBackoffSeconds": 90,
    "logFormat": "console",
    "logLevel": "debug",
    "port": 9090,
    "host": "127.0.0.1",
}


NOT_OF_CONFIG = {"k_sink", "journal_url", "journal_password_file"}
"""What Knative injects, and what comes from the Secret of the database."""
SETTINGS = {name for name in Settings.model_fields if name not in NOT_OF_CONFIG}


def camel(name: str) -> str:
    """Return a setting's name as a value; what Knative calls K_... has no such prefix here."""
    first, *rest = name.removeprefix("k_").split("_")
    return first + "".join(part.title() for part in rest)


def settings_from(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}".lstrip("."))
    if isinstance(schema.get("items"), dict):
        yield from nodes(schema["items"], f"{path}[]")


def test_every_setting_of_the_service_is_a_value_and_no_value_is_anything_else() -> None:
    assert set(DEFAULTS["config"]) == {camel(name) for name in SETTINGS}
    assert set(OTHERS) == set(DEFAULTS["config"])


def test_with_no_values_the_service_has_its_own_defaults_and_what_the_chart_implies(
    chart: ChartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_from(chart.settings({}), monkeypatch)
    for name, default in Settings().model_dump().items():
        assert str(getattr(settings, name)) == str(IMPLIED.get(name, default)), name


def test_every_value_under_config_arrives_in_the_service_as_it_was_written(
    chart: ChartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"mode": "deployment", "config": OTHERS}
    environment = chart.settings(values)
    (container,) = chart.service_pod(values)["spec"]["containers"]
    environment |= {each["name"]: each["value"] for each in container["env"] if "value" in each}
    settings = settings_from(environment, monkeypatch)
    for name in SETTINGS:
        given, arrived = OTHERS[camel(name)], getattr(settings, name)
        if isinstance(arrived, SecretStr):
            assert settings.ce_override_extensions == given["extensions"]
        elif isinstance(arrived, tuple) and not isinstance(arrived, Rate):
            assert list(arrived) == given
        else:
            assert str(arrived) == str(given) or arrived == given, name


def test_the_schema_has_the_bounds_of_the_settings(chart: ChartEngine) -> None:
    ours = chart.schema["properties"]["config"]["properties"]
    bounded = Settings.model_json_schema(by_alias=False)["properties"]
    for name, field in bounded.items():
        if name in NOT_OF_CONFIG:
            continue
        for bound in ("minimum", "maximum", "exclusiveMinimum", "enum", "pattern"):
            if bound in field:
                assert ours[camel(name)].get(bound) == field[bound], (name, bound)


def test_the_schema_is_closed_and_describes_every_value(chart: ChartEngine) -> None:
    open_places = set()
    for path, node in nodes(chart.schema):
        if path and not path.endswith("[]"):
            assert node.get("description", "").endswith("."), path
        of_type = node.get("type", [])
        if "object" in of_type and node.get("additionalProperties") is not False:
            if not isinstance(node.get("additionalProperties"), dict):
                open_places.add(path)
            assert "properties" not in node, path
    assert open_places == FREE


def test_values_and_schema_name_the_same_things(chart: ChartEngine) -> None:
    in_schema = {path for path, _ in nodes(chart.schema) if path and "[]" not in path} - {"global"}
    missing = {path for path in in_schema if not _given(path)}
    optional_maps = ("config.ceOverrides.", "broker.config.", "sinkBinding.", "triggers.delivery.")
    assert {path for path in missing if not path.startswith(optional_maps)} == set()


def _given(path: str) -> bool:
    place: Any = DEFAULTS
    for step in path.split("."):
        if not isinstance(place, dict) or step not in place:
            return False
        place = place[step]
    return True


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 3},
        {"config": {"workerCounts": 5}},
        {"config": {"queueSize": 0}},
        {"config": {"queueSize": "many"}},
        {"config": {"ack": "later"}},
        {"config": {"handoffUrl": "broker"}},
        {"mode": "serverless"},
        {"journal": {"storage": "disk"}},
        {"journal": {"emptyDir": {}}},
        {"journal": {"postgres": {"url": "postgresql://u:p@h/d"}}},
        {"autoscaling": {"kind": "both"}},
        {"config": {"leaseSeconds": 4}},
        {"triggers": {"delivery": {"retries": 3}}},
        {"triggers": {"delivery": {"backoffDelay": "2s"}}},
        {"triggers": {"delivery": {"deadLetterSink": {"url": "http://x"}}}},
        {"knative": {"minscale": 1}},
        {"build": {"networkPolicy": {"internet": {"cidr": []}}}},
        {"build": {"podSecurity": "none"}},
        {"networkPolicy": {"egress": {"kubernetesApi": {"cidrs": ["10.0.0.1"]}}}},
        {"image": {"digest": "latest"}},
        {"extraEnv": [{"nam": "A"}]},
        {"podLabels": {"a": 1}},
        {"prometheusRule": {"enable": True}},
    ],
    ids=str,
)
def test_a_typo_or_a_value_out_of_bounds_stops_the_install(
    chart: ChartEngine, wrong: dict[str, Any]
) -> None:
    with pytest.raises(helm_python.HelmValuesError, match="at '"):
        chart.files(wrong)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"build": {"namespace": "builder-system"}}, "must not be the release's own namespace"),
        ({"config": {"namespace": "builder-system"}}, "must not be the release's own namespace"),
        ({"journal": {"storage": "volume"}}, "needs mode deployment"),
        ({"autoscaling": {"enabled": True}}, "autoscaling is for mode deployment"),
        ({"knative": {"timeoutSeconds": 59}}, "timeoutSeconds must be at least 60"),
        ({"config": {"drainSeconds": 90}}, "timeoutSeconds must be at least 130"),
        ({"knative": {"minScale": 2}}, "maxScale must be at least"),
        ({"mode": "deployment", "autoscaling": {"enabled": True}}, "strands its builds"),
        ({"journal": {"storage": "postgres"}}, "needs journal.postgres.secret"),
        ({"journal": {"postgres": {"secret": "db"}}}, "which is emptyDir"),
        (
            {
                "journal": {"storage": "postgres", "postgres": {"secret": "db"}},
                "config": {"journalPath": "/x"},
            },
            "config.journalPath and journal.storage postgres",
        ),
        (
            {
                "mode": "deployment",
                "journal": {"storage": "emptyDir"},
                "autoscaling": {"enabled": True, "kind": "ScaledObject"},
            },
            "needs autoscaling.prometheusUrl",
        ),
        (
            {
                "mode": "deployment",
                "journal": {"storage": "emptyDir"},
                "autoscaling": {"enabled": True, "minReplicas": 9},
            },
            "maxReplicas must be at least",
        ),
        ({"mode": "deployment", "terminationGracePeriodSeconds": 34}, "must be at least 35"),
        (
            {"sinkBinding": {"enabled": True}, "config": {"sinkUrl": "http://x"}},
            "override what the SinkBinding injects",
        ),
        ({"jobTemplate": "a: b", "config": {"jobTemplate": "/x"}}, "two answers to one question"),
        ({"otel": {"samplerArg": "0.1"}}, "needs otel.sampler"),
        ({"provenance": {"keySecret": {"name": "k"}}}, "needs config.provenanceBuilderId"),
        (
            {
                "provenance": {"keySecret": {"name": "k"}},
                "config": {"provenanceBuilderId": "urn:x", "provenanceKeyFile": "/k"},
            },
            "two answers to one question",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_the_reason(
    chart: ChartEngine, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(message)):
        chart.files(values)
