"""As much OpenAPI as kubectl wants before it leaves validation to the server."""

from __future__ import annotations

from lambda_builder.devcluster.objects import RESOURCES, Json, Resource


def index() -> Json:
    """The document that lists the documents."""
    groups = {_prefix(resource) for resource in RESOURCES}
    return {
        "paths": {
            prefix: {"serverRelativeURL": f"/openapi/v3/{prefix}"} for prefix in sorted(groups)
        }
    }


def document(prefix: str) -> Json | None:
    """Which kinds of one group can be patched with ``fieldValidation``; None: no such group."""
    resources = [resource for resource in RESOURCES if _prefix(resource) == prefix]
    if not resources:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": "devcluster, for development and tests only", "version": "v1"},
        "paths": {_path(resource): {"patch": _patch(resource)} for resource in resources},
    }


def _prefix(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"


def _path(resource: Resource) -> str:
    space = "namespaces/{namespace}/" if resource.namespaced else ""
    return f"/{_prefix(resource)}/{space}{resource.plural}/{{name}}"


def _patch(resource: Resource) -> Json:
    schema = {"type": "string", "uniqueItems": True}
    return {
        "operationId": f"patch{resource.kind}",
        "parameters": [{"name": "fieldValidation", "in": "query", "schema": schema}],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }
