"""The chart through the real Helm engine: values in, Kubernetes objects out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "lambda-builder"
RELEASE = "lb"
NAMESPACE = "builder-system"
FULLNAME = "lb-lambda-builder"
BUILDS = "knative-lambda"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The quickest there is."""

Values = Mapping[str, Any]
KubeObject = dict[str, Any]

DEPLOYMENT: Values = {"mode": "deployment"}
WATCHED: Values = {
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "grafanaDashboard": {"enabled": True},
}
SHARED: Values = {
    **DEPLOYMENT,
    "journal": {
        "storage": "postgres",
        "postgres": {
            "secret": "database",
            "passwordKey": "password",
            "rootCertificate": {"secret": "database-ca"},
        },
    },
}
"""Replicas that share a database."""
KEDA: Values = {
    "enabled": True,
    "kind": "ScaledObject",
    "prometheusUrl": "http://prometheus.monitoring:9090",
}
OWN_TEMPLATE = "apiVersion: batch/v1\nkind: Job\nspec:\n  template: {}\n"
MATRIX: Mapping[str, Values] = {
    "no values": {},
    "knative with everything": {
        **WATCHED,
        "image": {"digest": "sha256:" + "a" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "sinkBinding": {"enabled": True, "ceOverrides": {"extensions": {"team": "builds"}}},
        "broker": {"class": "RabbitMQBroker", "config": {"kind": "RabbitmqBrokerConfig"}},
        "triggers": {
            "filterAttributes": {"region": "eu"},
            "audience": "lambda-builder",
            "delivery": {"deadLetterSink": {"uri": "http://dead.letters"}},
        },
        "config": {"buildEventTypes": ["a.build", "b.build"], "strictCloudevents": True},
        "jobTemplate": OWN_TEMPLATE,
        "auth": {"secret": "who-may"},
        "otel": {
            "endpoint": "http://otel:4318",
            "sampler": "traceidratio",
            "samplerArg": "0.1",
            "headersSecret": {"name": "otel"},
        },
        "knative": {"visibility": "external", "annotations": {"a": "b"}, "maxScale": 3},
        "podAnnotations": {"c": "d"},
    },
    "knative without eventing": {"triggers": {"enabled": False}, "journal": {"storage": "memory"}},
    "statefulset": {
        **DEPLOYMENT,
        **WATCHED,
        "journal": {"storageClass": "fast"},
        "config": {"provenanceBuilderId": "https://ci.example.com"},
        "provenance": {"keySecret": {"name": "provenance"}},
        "build": {"networkPolicy": {"contextStore": {"namespace": "minio"}}},
    },
    "deployment": {
        **DEPLOYMENT,
        **WATCHED,
        "journal": {"storage": "emptyDir"},
        "autoscaling": {"enabled": True},
        "triggers": {"enabled": True, "delivery": {"deadLetterSink": {"ref": {"kind": "S"}}}},
        "sinkBinding": {"enabled": True, "sink": {"uri": "http://sink"}},
        "priorityClassName": "high",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "extraEnv": [
            {"name": "A", "value": "b"},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        "networkPolicy": {
            "ingress": {"extraFrom": [{"podSelector": {}}]},
            "egress": {
                "kubernetesApi": {"cidrs": ["10.0.0.1/32"]},
                "extra": [{"ports": [{"port": 9000}]}],
            },
        },
        "serviceAccount": {"annotations": {"role": "arn"}},
        "build": {"serviceAccount": {"annotations": {"role": "arn"}}, "podSecurity": "privileged"},
        "podLabels": {"team": "builds"},
        "service": {"annotations": {"a": "b"}},
    },
    "deployment with a database": {
        **SHARED,
        **WATCHED,
        "autoscaling": KEDA,
        "networkPolicy": {"egress": {"database": {"namespaces": ["databases"]}}},
    },
    "knative with a database": {
        "journal": {"storage": "postgres", "postgres": {"secret": "database"}},
        "networkPolicy": {"egress": {"database": {"cidrs": ["10.1.2.3/32"]}}},
    },
    "deployment with the least": {
        **DEPLOYMENT,
        "journal": {"storage": "memory"},
        "preStopSeconds": 0,
        "podDisruptionBudget": {"enabled": False},
        "topologySpread": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "build": {
            "createNamespace": False,
            "serviceAccount": {"create": False},
            "quota": {"enabled": False},
            "limitRange": {"enabled": False},
            "networkPolicy": {"enabled": False},
        },
    },
}
"""Values that between them reach every branch of every template."""


class ChartEngine:
    """Renders the chart; the same values are rendered once. Close it after use."""

    def __init__(self) -> None:
        self._chart = helm_python.Chart.load(CHART)
        self._rendered: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        self._chart.close()

    @property
    def schema(self) -> dict[str, Any]:
        """The values' schema as Helm reads it."""
        schema = self._chart.schema
        assert schema is not None
        return schema

    def files(self, values: Values, namespace: str = NAMESPACE) -> dict[str, str]:
        """Render every template; raises ``helm_python.HelmError`` as ``helm install`` would."""
        key = json.dumps([values, namespace], sort_keys=True)
        if key not in self._rendered:
            self._rendered[key] = self._chart.render(
                dict(values), name=RELEASE, namespace=namespace
            )
        return self._rendered[key]

    def notes(self, values: Values) -> str:
        return self.files(values)["lambda-builder/templates/NOTES.txt"]

    def objects(self, values: Values, namespace: str = NAMESPACE) -> list[KubeObject]:
        """Return every rendered object."""
        return [
            document
            for name, text in sorted(self.files(values, namespace).items())
            if not name.endswith(".txt")
            for document in yaml.load_all(text, _LOADER)
            if document
        ]

    def all_of(self, values: Values, kind: str, api: str = "") -> list[KubeObject]:
        return [
            found
            for found in self.objects(values)
            if found["kind"] == kind and found["apiVersion"].startswith(api)
        ]

    def one(self, values: Values, kind: str, api: str = "") -> KubeObject:
        """Return the only object of ``kind``; ``api`` begins its apiVersion."""
        (found,) = self.all_of(values, kind, api)
        return found

    def service_pod(self, values: Values) -> KubeObject:
        """Return the pod template that runs the service."""
        (template,) = (template for _, template in pod_templates(self.objects(values)))
        return template

    def settings(self, values: Values) -> dict[str, str]:
        """Return the environment of the service's settings."""
        (found,) = (
            each
            for each in self.all_of(values, "ConfigMap")
            if each["metadata"]["name"] == FULLNAME
        )
        return {str(name): value for name, value in found["data"].items()}


def pod_templates(objects: list[KubeObject]) -> Iterator[tuple[str, KubeObject]]:
    """Yield (kind, pod template) of whatever makes pods."""
    for found in objects:
        template = (found.get("spec") or {}).get("template")
        if template is not None:
            yield found["kind"], template
