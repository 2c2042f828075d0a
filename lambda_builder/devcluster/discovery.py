"""What the server says about itself: version, health, and which resources there are."""

from __future__ import annotations

from lambda_builder.devcluster import openapi
from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.objects import RESOURCES, Json, Resource, dumps
from lambda_builder.devcluster.rest import Answer

VERSION = "v1.36.2+devcluster"
_HEALTH = ("/livez", "/readyz", "/healthz")


def answer(request: Request) -> Answer | None:
    """The answer to a path outside of the resource API; None where there is nothing."""
    path = request.path.rstrip("/")
    if request.method != "GET":
        return None
    if path.startswith(_HEALTH):
        return Answer(200, b"ok", "text/plain; charset=utf-8")
    document = _document(path)
    return Answer(200, dumps(document)) if document is not None else None


def _document(path: str) -> Json | None:
    groups = {r.group: r.version for r in RESOURCES if r.group}
    if path == "/version":
        return _version()
    if path == "/openapi/v3":
        return openapi.index()
    if path.startswith("/openapi/v3/"):
        return openapi.document(path.removeprefix("/openapi/v3/"))
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        listed = [_group(group, version) for group, version in groups.items()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    if path == "/api/v1":
        return _resources("", "v1")
    for group, version in groups.items():
        if path == f"/apis/{group}":
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, version)}
        if path == f"/apis/{group}/{version}":
            return _resources(group, f"{group}/{version}")
    return None


def _version() -> Json:
    major, minor = VERSION[1:].split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": VERSION,
        "gitCommit": "devcluster",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "devcluster: a development and test tool, not a Kubernetes cluster",
        "platform": "devcluster",
    }


def _group(group: str, version: str) -> Json:
    named = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [named], "preferredVersion": named}


def _resources(group: str, group_version: str) -> Json:
    listed: list[Json] = []
    for resource in RESOURCES:
        if resource.group == group:
            listed.append(_resource(resource))
            listed += [_subresource(resource, name) for name in resource.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": listed,
    }


def _resource(resource: Resource) -> Json:
    described: Json = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "kind": resource.kind,
        "namespaced": resource.namespaced,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        described["shortNames"] = list(resource.short_names)
    if resource.plural in ("jobs", "pods"):
        described["categories"] = ["all"]
    return described


def _subresource(resource: Resource, name: str) -> Json:
    if name == "eviction":
        kind: Json = {"group": "policy", "version": "v1", "kind": "Eviction"}
        return {"name": "pods/eviction", "singularName": "", "namespaced": True, **kind} | {
            "verbs": ["create"]
        }
    verbs = ["get"] if name == "log" else ["get", "patch", "update"]
    return {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "kind": resource.kind,
        "namespaced": resource.namespaced,
        "verbs": verbs,
    }
