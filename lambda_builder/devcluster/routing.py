"""From a path and method to what is asked for, in Kubernetes terms."""

from __future__ import annotations

from dataclasses import dataclass

from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.objects import RESOURCES, Resource

_BY_GROUP = {(r.group, r.plural): r for r in RESOURCES}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class Route:
    """What a request is about; ``resource`` is None outside of the resource API."""

    verb: str
    label: str
    resource: Resource | None = None
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def route(request: Request) -> Route:
    """Where a request goes. Unknown paths get a route without a resource."""
    parts = request.path.strip("/").split("/")
    if parts[0] == "api" and parts[1:2] == ["v1"]:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and parts[2:3] == ["v1"]:
        group, rest = parts[1], parts[3:]
    else:
        return Route(request.method.lower(), parts[0])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource = _BY_GROUP.get((group, rest[0])) if rest else None
    if resource is None or len(rest) > 3:
        return Route(request.method.lower(), parts[0])
    name, subresource = [*rest[1:], "", ""][:2]
    label = f"{resource.plural}/{subresource}" if subresource else resource.plural
    return Route(_verb(request, name), label, resource, namespace, name, subresource)


def _verb(request: Request, name: str) -> str:
    method = request.method
    if method == "GET":
        if request.flag("watch"):
            return "watch"
        return "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(method, method.lower())
