"""Who may do what: the service at the Kubernetes API, and both kinds of pods on the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes.utils.quantity import parse_quantity

from lambda_builder.builds import BuildRequest
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings
from tests.chart.rendering import (
    BUILDS,
    DEPLOYMENT,
    FULLNAME,
    MATRIX,
    NAMESPACE,
    SHARED,
    ChartEngine,
    Values,
)

Rule = dict[str, Any]
RECORDED = Path(__file__).with_name("api_calls.json")
"""Every call that the service made to the embedded cluster, whatever its settings."""


def test_the_role_allows_exactly_the_calls_that_the_service_makes(chart: ChartEngine) -> None:
    role = chart.one({}, "Role")
    allowed = [
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]
    made = {
        (call["verb"], call["group"], call["resource"]) for call in json.loads(RECORDED.read_text())
    }
    assert len(allowed) == len(set(allowed))
    assert set(allowed) == made


@pytest.mark.parametrize("case", MATRIX)
def test_all_rights_are_in_the_build_namespace_and_the_service_alone_has_them(
    chart: ChartEngine, case: str
) -> None:
    values = MATRIX[case]
    role, binding = chart.one(values, "Role"), chart.one(values, "RoleBinding")
    pod = chart.service_pod(values)["spec"]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == BUILDS
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": NAMESPACE}
    ]


def test_build_pods_have_an_account_of_their_own_without_a_token(chart: ChartEngine) -> None:
    (builder,) = (
        account
        for account in chart.all_of({}, "ServiceAccount")
        if account["metadata"]["namespace"] == BUILDS
    )
    assert builder["automountServiceAccountToken"] is False
    assert chart.settings({})["LAMBDA_BUILDER_SERVICE_ACCOUNT"] == builder["metadata"]["name"]
    assert builder["metadata"]["name"] != chart.service_pod({})["spec"]["serviceAccountName"]


def test_the_namespace_that_config_names_gets_all_that_builds_need(chart: ChartEngine) -> None:
    values = {"config": {"namespace": "elsewhere", "serviceAccount": "mine"}}
    made = {
        found["kind"]
        for found in chart.objects(values)
        if found["metadata"].get("namespace") == "elsewhere"
    }
    assert made == {
        "LimitRange",
        "NetworkPolicy",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    }
    assert chart.one(values, "Namespace")["metadata"]["name"] == "elsewhere"
    assert chart.settings(values)["LAMBDA_BUILDER_SERVICE_ACCOUNT"] == "mine"


def test_builds_wait_in_the_queue_for_the_pods_that_the_quota_has_room_for(
    chart: ChartEngine,
) -> None:
    quota = chart.one({}, "ResourceQuota")["spec"]["hard"]
    unbounded = {"build": {"quota": {"enabled": False}}}
    assert chart.settings({})["LAMBDA_BUILDER_MAX_ACTIVE_JOBS"] == quota["pods"]
    assert "LAMBDA_BUILDER_MAX_ACTIVE_JOBS" not in chart.settings(unbounded)
    asked = chart.settings({"config": {"maxActiveJobs": 0}})
    assert asked["LAMBDA_BUILDER_MAX_ACTIVE_JOBS"] == "0"


@pytest.mark.parametrize("builder", ["kaniko.yaml", "buildkit.yaml"])
def test_the_quota_has_room_for_as_many_builds_as_it_allows_pods(
    chart: ChartEngine, builder: str
) -> None:
    quota = chart.one({}, "ResourceQuota")["spec"]["hard"]
    (container,) = job_of(builder)["spec"]["template"]["spec"]["containers"]
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    pods = int(quota["pods"])
    assert pods * parse_quantity(requests["cpu"]) <= parse_quantity(quota["requests.cpu"])
    assert pods * parse_quantity(requests["memory"]) <= parse_quantity(quota["requests.memory"])
    assert pods * parse_quantity(limits["memory"]) <= parse_quantity(quota["limits.memory"])


def job_of(builder: str) -> dict[str, Any]:
    template = JobTemplate.from_settings(Settings(job_template=builder))
    request = BuildRequest(
        event_id="1",
        event_source="s",
        event_type="t",
        parser_id="p",
        third_party_id="c",
        correlation_id="1",
        event_hash="0" * 64,
        job_name="build-c-p-0000000000",
    )
    job: dict[str, Any] = template.render(request)
    return job


def policy(chart: ChartEngine, values: Any, name: str = FULLNAME) -> dict[str, Any]:
    (found,) = (
        each["spec"]
        for each in chart.all_of(values, "NetworkPolicy")
        if each["metadata"]["name"] == name
    )
    assert found["policyTypes"] == ["Ingress", "Egress"]
    spec: dict[str, Any] = found
    return spec


def namespaces(rule: Rule, direction: str) -> list[str]:
    return [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in rule.get(direction, ())
        if "namespaceSelector" in peer
    ]


def ports(rule: Rule) -> set[int]:
    return {each["port"] for each in rule.get("ports", ())}


def test_only_knative_and_prometheus_reach_the_service(chart: ChartEngine) -> None:
    senders, scrapers = policy(chart, {})["ingress"]
    assert set(namespaces(senders, "from")) >= {"knative-serving", "knative-eventing"}
    assert "ports" not in senders, "the queue-proxy has several"
    assert namespaces(scrapers, "from") == ["monitoring"]
    assert ports(scrapers) == {8080}


def test_without_knative_in_front_only_the_services_port_is_open_and_replicas_reach_each_other(
    chart: ChartEngine,
) -> None:
    spec = policy(chart, DEPLOYMENT)
    itself = {"podSelector": spec["podSelector"]}
    assert all(ports(rule) == {8080} for rule in spec["ingress"])
    assert itself in spec["ingress"][0]["from"]
    assert any(itself in rule.get("to", ()) for rule in spec["egress"])


def test_empty_lists_of_senders_shut_the_service_instead_of_opening_it(chart: ChartEngine) -> None:
    nobody: Values = {"knativeNamespaces": [], "prometheusNamespaces": []}
    assert policy(chart, {"networkPolicy": {"ingress": nobody}})["ingress"] in ([], None)


def test_the_service_reaches_names_the_api_and_the_sink_and_nothing_else(
    chart: ChartEngine,
) -> None:
    names, api, sink = policy(chart, {})["egress"]
    assert (namespaces(names, "to"), ports(names)) == (["kube-system"], {53})
    assert ports(api) == {443, 6443}
    assert namespaces(sink, "to") == ["knative-eventing", "kourier-system", "istio-system"]
    narrowed = {"networkPolicy": {"egress": {"kubernetesApi": {"cidrs": ["10.0.0.1/32"]}}}}
    assert policy(chart, narrowed)["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


def test_the_collector_is_reached_only_where_there_is_one(chart: ChartEngine) -> None:
    assert not any(4318 in ports(rule) for rule in policy(chart, {})["egress"])
    traced = {"otel": {"endpoint": "http://collector:4318"}}
    assert any(4318 in ports(rule) for rule in policy(chart, traced)["egress"])


def test_the_database_is_reached_only_where_there_is_one(chart: ChartEngine) -> None:
    assert not any(5432 in ports(rule) for rule in policy(chart, DEPLOYMENT)["egress"])
    (anywhere,) = [rule for rule in policy(chart, SHARED)["egress"] if 5432 in ports(rule)]
    assert "to" not in anywhere
    place = {"namespaces": ["databases"], "cidrs": ["10.1.2.3/32"], "ports": [6432]}
    narrowed = {**SHARED, "networkPolicy": {"egress": {"database": place}}}
    (there,) = [rule for rule in policy(chart, narrowed)["egress"] if 6432 in ports(rule)]
    assert namespaces(there, "to") == ["databases"]
    assert {"ipBlock": {"cidr": "10.1.2.3/32"}} in there["to"]


def test_a_broker_with_an_ingress_of_its_own_is_reached_in_its_namespace(
    chart: ChartEngine,
) -> None:
    values = {"broker": {"class": "RabbitMQBroker", "namespace": "events"}}
    assert "events" in namespaces(policy(chart, values)["egress"][2], "to")


def test_nothing_reaches_a_build_and_it_reaches_neither_nodes_identity_nor_other_ports(
    chart: ChartEngine,
) -> None:
    spec = policy(chart, {}, f"{FULLNAME}-builds")
    names, registry, internet = spec["egress"]
    assert spec["ingress"] == []
    labels = job_of("kaniko.yaml")["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert (namespaces(names, "to"), ports(names)) == (["kube-system"], {53})
    assert (namespaces(registry, "to"), ports(registry)) == ([BUILDS], {5000})
    assert ports(internet) == {80, 443}
    assert internet["to"][0]["ipBlock"]["except"] == ["169.254.169.254/32"]


def test_a_build_without_an_internet_is_left_with_names_and_registry(chart: ChartEngine) -> None:
    values: Values = {"build": {"networkPolicy": {"internet": {"cidrs": []}}}}
    assert len(policy(chart, values, f"{FULLNAME}-builds")["egress"]) == 2
