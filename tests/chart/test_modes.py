"""What each mode makes of the service: its workload, its journal, its way in and its scaling."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_builder.settings import BUILD_EVENT_TYPES, COMMAND_EVENT_TYPES
from tests.chart.rendering import (
    DEPLOYMENT,
    FULLNAME,
    KEDA,
    NAMESPACE,
    SHARED,
    ChartEngine,
    Values,
)

HANDING_OFF: Values = {**DEPLOYMENT, "journal": {"storage": "emptyDir"}}
BROKER_URL = f"http://broker-ingress.knative-eventing.svc.cluster.local/{NAMESPACE}/{FULLNAME}"


def mounted(chart: ChartEngine, values: Values, name: str) -> Any:
    volumes = chart.service_pod(values)["spec"]["volumes"]
    return next((each for each in volumes if each["name"] == name), None)


def test_behind_knative_one_pod_stays_and_leaves_slowly(chart: ChartEngine) -> None:
    service = chart.one({}, "Service", "serving.knative.dev/v1")
    template = service["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/min-scale"] == "1"
    assert annotations["autoscaling.knative.dev/max-scale"] == "1"
    assert annotations["autoscaling.knative.dev/scale-down-delay"] == "5m"
    assert template["spec"]["timeoutSeconds"] == 120
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"


@pytest.mark.parametrize(
    ("values", "concurrency"),
    [
        ({}, 14),
        ({"config": {"httpThreads": 2}}, 1),
        ({"knative": {"containerConcurrency": 0}}, 0),
        ({"knative": {"containerConcurrency": 50}}, 50),
    ],
)
def test_behind_knative_threads_are_left_for_probes_and_scrapes(
    chart: ChartEngine, values: Values, concurrency: int
) -> None:
    assert chart.service_pod(values)["spec"]["containerConcurrency"] == concurrency


def test_behind_knative_nothing_is_asked_for_that_needs_a_feature_flag(chart: ChartEngine) -> None:
    spec = chart.service_pod({})["spec"]
    (container,) = spec["containers"]
    assert set(spec) == {
        "containerConcurrency",
        "containers",
        "enableServiceLinks",
        "serviceAccountName",
        "timeoutSeconds",
        "volumes",
    }
    assert {"lifecycle", "startupProbe"}.isdisjoint(container)
    assert "PORT" not in {each["name"] for each in container["env"]}, "Knative sets it"
    assert container["ports"] == [{"containerPort": 8080}]
    assert mounted(chart, {}, "journal")["emptyDir"] == {}


def test_behind_knative_what_a_pod_leaves_goes_back_to_the_broker(chart: ChartEngine) -> None:
    settings = chart.settings({})
    assert settings["LAMBDA_BUILDER_HANDOFF_URL"] == BROKER_URL
    assert settings["LAMBDA_BUILDER_SINK_URL"] == BROKER_URL
    assert "LAMBDA_BUILDER_HANDOFF_URL" not in chart.settings({"config": {"handoffUrl": ""}})


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        (
            {"name": "mine", "namespace": "events"},
            ".knative-eventing.svc.cluster.local/events/mine",
        ),
        ({"class": "Kafka"}, "http://kafka-broker-ingress.knative-eventing.svc.cluster.local/"),
        ({"class": "KafkaNamespaced"}, f"http://kafka-broker-ingress.{NAMESPACE}.svc"),
        ({"class": "RabbitMQBroker", "name": "b"}, f"http://b-broker-ingress.{NAMESPACE}.svc"),
        ({"url": "https://broker.example/x"}, "https://broker.example/x"),
    ],
)
def test_the_brokers_address_follows_its_class(
    chart: ChartEngine, broker: dict[str, str], url: str
) -> None:
    assert url in chart.settings({"broker": broker})["LAMBDA_BUILDER_HANDOFF_URL"]


def test_a_volume_each_makes_a_statefulset_that_comes_back_and_hands_nothing_off(
    chart: ChartEngine,
) -> None:
    workload = chart.one(DEPLOYMENT, "StatefulSet")
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "journal"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert workload["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
    assert workload["spec"]["replicas"] == 2
    assert "LAMBDA_BUILDER_HANDOFF_URL" not in chart.settings(DEPLOYMENT)
    assert chart.all_of(DEPLOYMENT, "Deployment") == []
    governing = [each["metadata"]["name"] for each in chart.all_of(DEPLOYMENT, "Service")]
    assert workload["spec"]["serviceName"] in governing


def test_pods_that_do_not_come_back_hand_off_to_the_other_replicas(chart: ChartEngine) -> None:
    workload = chart.one(HANDING_OFF, "Deployment")
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert mounted(chart, HANDING_OFF, "journal")["emptyDir"] == {}
    assert chart.settings(HANDING_OFF)["LAMBDA_BUILDER_HANDOFF_URL"] == (
        f"http://{FULLNAME}.{NAMESPACE}.svc.cluster.local:80/events"
    )
    with_triggers = {**HANDING_OFF, "triggers": {"enabled": True}}
    assert chart.settings(with_triggers)["LAMBDA_BUILDER_HANDOFF_URL"] == BROKER_URL


def test_the_secret_of_who_may_do_what_is_mounted_and_named(chart: ChartEngine) -> None:
    values = {**DEPLOYMENT, "journal": {"storage": "emptyDir"}, "auth": {"secret": "who-may"}}
    pod = chart.service_pod(values)["spec"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "auth"]
    assert volume["secret"]["secretName"] == "who-may"
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "auth"]
    assert mount["readOnly"]
    settings = chart.settings(values)
    assert settings["LAMBDA_BUILDER_AUTH_FILE"] == f"{mount['mountPath']}/auth.yaml"
    # The other replicas would ask who sends.
    assert "LAMBDA_BUILDER_HANDOFF_URL" not in settings


def test_triggers_ask_for_tokens_where_an_audience_is_given(chart: ChartEngine) -> None:
    asked: Values = {"triggers": {"audience": "lambda-builder"}}
    for values, audience in (({}, None), (asked, "lambda-builder")):
        subscribers = [each["spec"]["subscriber"] for each in chart.all_of(values, "Trigger")]
        assert {each.get("audience") for each in subscribers} == {audience}


def test_without_a_journal_there_is_no_path_and_no_volume_for_one(chart: ChartEngine) -> None:
    for values in (
        {"journal": {"storage": "memory"}},
        {**DEPLOYMENT, "journal": {"storage": "memory"}},
    ):
        assert "LAMBDA_BUILDER_JOURNAL_PATH" not in chart.settings(values)
        assert mounted(chart, values, "journal") is None


def test_the_autoscaler_sets_the_replicas_and_follows_the_queue(chart: ChartEngine) -> None:
    values = {**HANDING_OFF, "autoscaling": {"enabled": True, "targetQueueDepth": 20}}
    (metric,) = chart.one(values, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "async_job_queue_depth"
    assert metric["pods"]["target"]["averageValue"] == "20"
    assert "replicas" not in chart.one(values, "Deployment")["spec"]
    assert chart.all_of(HANDING_OFF, "HorizontalPodAutoscaler") == []


def test_replicas_that_share_a_database_have_no_volumes_and_hand_nothing_off(
    chart: ChartEngine,
) -> None:
    workload = chart.one(SHARED, "Deployment")
    assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert chart.all_of(SHARED, "StatefulSet") == []
    assert mounted(chart, SHARED, "journal") is None
    settings = chart.settings(SHARED)
    assert {"LAMBDA_BUILDER_JOURNAL_PATH", "LAMBDA_BUILDER_HANDOFF_URL"}.isdisjoint(settings)
    assert settings["LAMBDA_BUILDER_LEASE_SECONDS"] == "15"
    assert chart.one(SHARED, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_databases_address_comes_from_its_secret_and_its_password_as_a_file_that_may_change(
    chart: ChartEngine,
) -> None:
    (container,) = chart.service_pod(SHARED)["spec"]["containers"]
    environment = {each["name"]: each for each in container["env"]}
    url = environment["LAMBDA_BUILDER_JOURNAL_URL"]["valueFrom"]["secretKeyRef"]
    assert url == {"name": "database", "key": "url"}
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "database"]
    assert mount["readOnly"]
    assert "subPath" not in mount
    password = environment["LAMBDA_BUILDER_JOURNAL_PASSWORD_FILE"]["value"]
    assert password == f"{mount['mountPath']}/password"
    assert environment["PGSSLROOTCERT"]["value"] == f"{mount['mountPath']}/ca.crt"
    assert environment["PGSSLMODE"]["value"] == "verify-full"
    assert mounted(chart, SHARED, "database")["projected"]["sources"] == [
        {"secret": {"name": "database", "items": [{"key": "password", "path": "password"}]}},
        {"secret": {"name": "database-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]


@pytest.mark.parametrize("mode", ["knative", "deployment"])
def test_a_database_whose_url_says_all_needs_no_files(chart: ChartEngine, mode: str) -> None:
    values = {"mode": mode, "journal": {"storage": "postgres", "postgres": {"secret": "database"}}}
    (container,) = chart.service_pod(values)["spec"]["containers"]
    names = {each["name"] for each in container["env"]}
    assert "LAMBDA_BUILDER_JOURNAL_URL" in names
    assert {"LAMBDA_BUILDER_JOURNAL_PASSWORD_FILE", "PGSSLROOTCERT", "PGSSLMODE"}.isdisjoint(names)
    assert mounted(chart, values, "database") is None


def test_replicas_are_scaled_by_one_autoscaler_alone(chart: ChartEngine) -> None:
    ours = {**SHARED, "autoscaling": {"enabled": True}}
    kedas = {**SHARED, "autoscaling": {**KEDA, "targetQueueDepth": 20}}
    assert chart.all_of(ours, "ScaledObject") == []
    assert chart.all_of(kedas, "HorizontalPodAutoscaler") == []
    assert "replicas" not in chart.one(kedas, "Deployment")["spec"]
    scaled = chart.one(kedas, "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == FULLNAME
    (trigger,) = scaled["triggers"]
    assert trigger["metricType"] == "AverageValue"
    assert trigger["metadata"]["query"] == (
        f'sum(async_job_queue_depth{{namespace="{NAMESPACE}",job="{FULLNAME}"}})'
    )
    assert trigger["metadata"]["threshold"] == "20"
    behavior = chart.one(ours, "HorizontalPodAutoscaler")["spec"]["behavior"]
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == behavior


@pytest.mark.parametrize("values", [DEPLOYMENT, HANDING_OFF, SHARED])
def test_selectors_find_the_pods_and_only_them(chart: ChartEngine, values: Values) -> None:
    labels = chart.service_pod(values)["metadata"]["labels"].items()
    selectors = [each["spec"]["selector"] for each in chart.all_of(values, "Service", "v1")]
    for found in chart.all_of(values, "StatefulSet") + chart.all_of(values, "Deployment"):
        selectors.append(found["spec"]["selector"]["matchLabels"])
    selectors.append(chart.one(values, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    for constraint in chart.service_pod(values)["spec"]["topologySpreadConstraints"]:
        selectors.append(constraint["labelSelector"]["matchLabels"])
    for selector in selectors:
        assert selector.items() <= labels
        assert selector["app.kubernetes.io/instance"] == "lb"


def test_probes_ask_health_for_life_and_ready_for_traffic(chart: ChartEngine) -> None:
    for values in ({}, DEPLOYMENT):
        (container,) = chart.service_pod(values)["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["startupProbe"]["httpGet"]["path"] == "/health"


def test_every_event_type_that_the_service_takes_has_a_trigger(chart: ChartEngine) -> None:
    triggers = chart.all_of({}, "Trigger")
    types = [each["spec"]["filter"]["attributes"]["type"] for each in triggers]
    assert types == [*BUILD_EVENT_TYPES, *COMMAND_EVENT_TYPES]
    assert len({each["metadata"]["name"] for each in triggers}) == len(types)
    configured = chart.settings({})["LAMBDA_BUILDER_BUILD_EVENT_TYPES"]
    assert configured == ",".join(BUILD_EVENT_TYPES)


def test_each_type_of_build_event_has_a_trigger_and_so_have_commands(chart: ChartEngine) -> None:
    values = {
        "config": {"buildEventTypes": ["a.build", "b.build"]},
        "triggers": {"filterAttributes": {"region": "eu"}},
    }
    triggers = chart.all_of(values, "Trigger")
    types = [each["spec"]["filter"]["attributes"]["type"] for each in triggers]
    assert types == ["a.build", "b.build", *COMMAND_EVENT_TYPES]
    for trigger in triggers:
        assert trigger["spec"]["filter"]["attributes"]["region"] == "eu"
        assert trigger["spec"]["broker"] == chart.one(values, "Broker")["metadata"]["name"]
        assert trigger["spec"]["subscriber"]["ref"] == {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "name": FULLNAME,
            "namespace": NAMESPACE,
        }


def test_triggers_of_mode_deployment_lead_to_its_service(chart: ChartEngine) -> None:
    assert chart.all_of(DEPLOYMENT, "Trigger") == chart.all_of(DEPLOYMENT, "Broker") == []
    values = {**DEPLOYMENT, "triggers": {"enabled": True}, "broker": {"create": False, "name": "b"}}
    trigger = chart.all_of(values, "Trigger")[0]
    assert trigger["spec"]["subscriber"]["ref"]["apiVersion"] == "v1"
    assert trigger["spec"]["broker"] == "b"
    assert chart.all_of(values, "Broker") == []


def test_a_sinkbinding_takes_the_place_of_the_sinks_address(chart: ChartEngine) -> None:
    values = {"sinkBinding": {"enabled": True}}
    binding = chart.one(values, "SinkBinding")["spec"]
    assert "LAMBDA_BUILDER_SINK_URL" not in chart.settings(values)
    assert binding["subject"]["name"] == FULLNAME
    assert binding["sink"]["ref"]["kind"] == "Broker"


def test_a_changed_setting_or_job_template_rolls_the_pods(chart: ChartEngine) -> None:
    def checksum(values: Values) -> str:
        template = chart.service_pod(values)["metadata"]
        return str(template["annotations"]["checksum/config"])

    for base in ({}, DEPLOYMENT):
        sums = {
            checksum(base),
            checksum({**base, "config": {"queueSize": 7}}),
            checksum({**base, "jobTemplate": "kind: Job"}),
            checksum({**base, "jobTemplate": "kind: Jobs"}),
        }
        assert len(sums) == 4
        assert checksum(base) == checksum({**base, "prometheusRule": {"enabled": True}})


def test_a_job_template_arrives_as_it_was_written(chart: ChartEngine) -> None:
    text = "# ${not_helm} {{ nor }}\nkind: Job\nspec:\n  a: |\n    b\n"
    values = {"jobTemplate": text}
    (found,) = (
        each["data"]
        for each in chart.all_of(values, "ConfigMap")
        if "job-template.yaml" in each["data"]
    )
    assert found["job-template.yaml"] == text


def test_nothing_is_traced_unless_there_is_an_endpoint(chart: ChartEngine) -> None:
    def traced(values: Values) -> dict[str, str]:
        (container,) = chart.service_pod(values)["spec"]["containers"]
        return {e["name"]: e.get("value", "") for e in container["env"] if "OTEL" in e["name"]}

    assert traced({"otel": {"serviceName": "x"}}) == {}
    environment = traced({"otel": {"endpoint": "http://c:4318", "resourceAttributes": {"a": "b"}}})
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://c:4318"
    assert "a=b" in environment["OTEL_RESOURCE_ATTRIBUTES"].split(",")


def test_a_namespace_for_builds_outlives_the_release(chart: ChartEngine) -> None:
    metadata = chart.one({}, "Namespace")["metadata"]
    assert metadata["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "ksvc/lb-lambda-builder"),
        (DEPLOYMENT, "statefulset/lb-lambda-builder"),
        (HANDING_OFF, "deployment/lb-lambda-builder"),
        ({}, "WARNING: triggers.delivery.deadLetterSink is not set"),
        ({}, "for 34 minutes are dropped"),
        ({"triggers": {"delivery": {"retry": 5}}}, "WARNING: deliveries are given up after 62 s"),
        ({"knative": {"visibility": "external"}}, "WARNING: the service can be reached"),
        ({"knative": {"minScale": 0}}, "WARNING: knative.minScale is 0"),
        ({"triggers": {"enabled": False}}, "WARNING: there are no Triggers"),
        ({"journal": {"storage": "memory"}}, "WARNING: journal.storage is memory"),
    ],
)
def test_the_notes_say_how_to_go_on_and_what_is_missing(
    chart: ChartEngine, values: Values, said: str
) -> None:
    notes = chart.notes(values)
    assert said in notes
    assert "curl -i http://localhost:8080/events" in notes
    assert "curl http://localhost:8080/async-jobs/first" in notes


def test_the_notes_warn_of_nothing_that_is_in_order(chart: ChartEngine) -> None:
    values = {
        "image": {"repository": "registry.example/lambda-builder"},
        "triggers": {"delivery": {"deadLetterSink": {"uri": "http://dead.letters"}}},
    }
    assert "WARNING" not in chart.notes(values)
