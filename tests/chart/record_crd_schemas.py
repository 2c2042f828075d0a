"""Writes tests/chart/crd_schemas from the packages that publish the CRDs' models.

Run by hand where ``cloudcoil-models-knative-serving``, ``-knative-eventing``, ``-keda`` and
``-prometheus-operator`` are installed, in an environment of their own:
``python tests/chart/record_crd_schemas.py``. What is kept are the fields and their types, closed,
so that a field that the API server would prune is an error.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

MODELS = {
    "Service": "cloudcoil.models.knative_serving.serving_knative_dev.v1",
    "Broker": "cloudcoil.models.knative_eventing.eventing_knative_dev.v1",
    "Trigger": "cloudcoil.models.knative_eventing.eventing_knative_dev.v1",
    "SinkBinding": "cloudcoil.models.knative_eventing.sources_knative_dev.v1",
    "ServiceMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PodMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PrometheusRule": "cloudcoil.models.prometheus_operator.v1",
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
}
KEPT = ("type", "enum", "const", "pattern", "minimum", "maximum", "required", "format")


def closed(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` with references put in and objects closed, without prose."""
    if "$ref" in schema:
        return closed(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    choices = [c for c in schema.get("anyOf", ()) if c.get("type") != "null"]
    if len(choices) == 1:
        return closed(choices[0], definitions)
    if choices:
        return {"anyOf": [closed(choice, definitions) for choice in choices]}
    kept = {name: schema[name] for name in KEPT if name in schema}
    if "(?" in kept.get("pattern", ""):
        del kept["pattern"]  # Go's regular expressions are not JSON Schema's
    if "items" in schema:
        kept["items"] = closed(schema["items"], definitions)
    if "properties" in schema:
        fields = schema["properties"].items()
        kept["properties"] = {name: closed(field, definitions) for name, field in fields}
        kept["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = closed(schema["additionalProperties"], definitions)
    return kept


def main() -> None:
    folder = Path(__file__).parent / "crd_schemas"
    for kind, module in MODELS.items():
        model = getattr(importlib.import_module(module), kind)
        schema = model.model_json_schema(by_alias=True)
        definitions = schema.get("$defs", {})
        schema["properties"] = {
            name: field for name, field in schema["properties"].items() if name != "status"
        }
        text = json.dumps(closed(schema, definitions), separators=(",", ":"), sort_keys=True)
        (folder / f"{kind.lower()}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
