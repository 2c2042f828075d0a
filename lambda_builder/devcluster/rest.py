"""The verbs on stored objects: get, list, create, patch, update, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lambda_builder.devcluster import decoding
from lambda_builder.devcluster.admission import Admission
from lambda_builder.devcluster.deletion import Deletion
from lambda_builder.devcluster.eviction import Evictions
from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.listing import Lists, encode_list
from lambda_builder.devcluster.names import generate_name
from lambda_builder.devcluster.objects import LEASES, Json, Obj, Resource
from lambda_builder.devcluster.routing import Route
from lambda_builder.devcluster.selection import Selector, parse
from lambda_builder.devcluster.server import Exchange
from lambda_builder.devcluster.statuses import (
    already_exists,
    bad_request,
    conflict,
    invalid,
    method_not_allowed,
    not_found,
    required,
    unsupported_media_type,
)
from lambda_builder.devcluster.store import Store

_PATCH_TYPES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer to a request."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Reply = Answer | Callable[[Exchange], None]


class Rest:
    """Answers requests for objects. On the server's thread only."""

    def __init__(
        self,
        lists: Lists,
        store: Store,
        admission: Admission,
        deletion: Deletion,
        evictions: Evictions,
    ) -> None:
        self.lists = lists
        self._store = store
        self._admission = admission
        self._deletion = deletion
        self._evictions = evictions

    def answer(self, route: Route, request: Request, resource: Resource) -> Answer:
        """Answer one request; raises ``ApiError`` where it is refused."""
        if route.subresource == "eviction":
            return self._evict(route, request, resource)
        if route.verb not in resource.verbs:
            raise method_not_allowed()
        if route.verb == "create":
            return self._create(route, request, resource)
        if route.verb == "list":
            return self._list(route, request, resource)
        if route.verb == "get":
            return Answer(200, self.find(route, resource).encode())
        if route.verb == "patch":
            return self._patch(route, request, resource)
        if route.verb == "update":
            return self._update(route, request, resource)
        return self._delete(route, request, resource)

    def find(self, route: Route, resource: Resource) -> Obj:
        """Return the object a route names; raises 404 where there is none."""
        obj = self._store.of(resource).get(route.namespace, route.name)
        if obj is None:
            raise not_found(resource, route.name)
        return obj

    # -- create ---------------------------------------------------------------------------------

    def _create(self, route: Route, request: Request, resource: Resource) -> Answer:
        if route.name:
            raise method_not_allowed()
        value = _body(request, resource)
        headers = _strictness(request, resource, decoding.decode(value, resource))
        meta = value["metadata"]
        self._admission.check_namespace(resource, route.namespace)
        if (meta.get("namespace") or route.namespace) != route.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        if not meta.get("name"):
            meta["name"] = _generated_name(meta.get("generateName") or "", resource)
        obj = self._admission.new(resource, value, route.namespace)
        old = self._store.of(resource).get(route.namespace, obj.name)
        if old is not None:
            raise already_exists(resource, obj.name, deleting=old.deleting)
        if request.query.get("dryRun"):
            return Answer(201, obj.encode(), headers=headers)
        obj = self._store.put(obj)
        self._admission.created(obj)
        return Answer(201, obj.encode(), headers=headers)

    # -- list -----------------------------------------------------------------------------------

    def _list(self, route: Route, request: Request, resource: Resource) -> Answer:
        meta, items = self.lists.select(route.namespace, request, resource)
        return Answer(200, encode_list(resource, meta, items))

    # -- change ---------------------------------------------------------------------------------

    def _patch(self, route: Route, request: Request, resource: Resource) -> Answer:
        if request.media_type not in _PATCH_TYPES:
            raise unsupported_media_type(_PATCH_TYPES)
        old = self.find(route, resource)
        patch = decoding.read_json(request.body, resource.kind)
        is_of_metadata = patch.keys() == {"metadata"} and isinstance(patch["metadata"], dict)
        if is_of_metadata and not route.subresource:
            return self._patch_metadata(route, request, old, patch)
        value = old.decode()
        before = old.decode()
        merge(value, patch)
        return self._change(route, request, resource, old, before, value)

    def _patch_metadata(self, route: Route, request: Request, old: Obj, patch: Json) -> Answer:
        """Change metadata alone, as most patches do: the rest of the object is not looked at."""
        resource, revision = old.resource, {"resourceVersion": str(old.rv)}
        before = old.decode_meta() | revision
        value = {"metadata": old.decode_meta() | revision}
        merge(value, patch)
        headers = _strictness(request, resource, decoding.decode(value, resource))
        _check_preconditions(route, old, value["metadata"])
        new = self._admission.changed_metadata(old, before, value["metadata"])
        return self._put(request, old, new, headers)

    def _update(self, route: Route, request: Request, resource: Resource) -> Answer:
        value = _body(request, resource)
        meta = value["metadata"]
        if not isinstance(meta, dict) or meta.setdefault("name", route.name) != route.name:
            raise bad_request(
                f"the name of the object does not match the name on the URL ({route.name})"
            )
        old = self._store.of(resource).get(route.namespace, route.name)
        if old is None and resource is LEASES and not meta.get("resourceVersion"):
            return self._create(
                Route("create", resource.plural, resource, route.namespace), request, resource
            )
        old = old or self.find(route, resource)
        if not meta.get("resourceVersion") and resource is LEASES:
            cause = required("metadata.resourceVersion", "must be specified for an update")
            raise invalid(resource, route.name, [cause])
        return self._change(route, request, resource, old, old.decode(), value)

    def _change(
        self,
        route: Route,
        request: Request,
        resource: Resource,
        old: Obj,
        before: Json,
        value: Json,
    ) -> Answer:
        headers = _strictness(request, resource, decoding.decode(value, resource))
        _check_preconditions(route, old, value.setdefault("metadata", {}))
        new = self._admission.changed(resource, before, value, route.subresource)
        return self._put(request, old, new, headers)

    def _put(
        self, request: Request, old: Obj, new: Obj, headers: tuple[tuple[str, str], ...]
    ) -> Answer:
        if new.encode() == old.encode() or request.query.get("dryRun"):
            return Answer(200, new.encode(), headers=headers)
        new = self._store.put(new)
        if not self._deletion.finalized(new):
            self._admission.updated(new)
        return Answer(200, new.encode(), headers=headers)

    # -- delete ---------------------------------------------------------------------------------

    def _delete(self, route: Route, request: Request, resource: Resource) -> Answer:
        options = decoding.read_json(request.body, "DeleteOptions") if request.body else {}
        options = {**options, **{k: v for k, v in request.query.items() if k in _DELETE_QUERY}}
        if route.verb == "deletecollection":
            query = request.query
            selector = parse(query.get("labelSelector", ""), query.get("fieldSelector", ""))
            return self._delete_all(route, resource, selector, options)
        body, headers = self._deletion.delete(self.find(route, resource), options)
        return Answer(200, body, headers=headers)

    def _evict(self, route: Route, request: Request, resource: Resource) -> Answer:
        if route.verb != "create":
            raise method_not_allowed()
        eviction = decoding.read_json(request.body, "Eviction")
        dry_run = bool(request.query.get("dryRun"))
        pod = self.find(route, resource)
        return Answer(201, self._evictions.evict(pod, eviction, dry_run=dry_run))

    def _delete_all(
        self, route: Route, resource: Resource, selector: Selector, options: Json
    ) -> Answer:
        objs = list(self._store.of(resource).select(route.namespace, selector))
        for obj in objs:
            self._deletion.delete(obj, options)
        return Answer(200, encode_list(resource, {"resourceVersion": str(self._store.rv)}, objs))


_DELETE_QUERY = ("propagationPolicy", "gracePeriodSeconds", "dryRun", "orphanDependents")


def merge(value: Json, patch: Json) -> None:
    """RFC 7396: objects are merged, null removes, everything else replaces."""
    for key, item in patch.items():
        if item is None:
            value.pop(key, None)
        elif isinstance(item, dict):
            if not isinstance(value.get(key), dict):
                value[key] = {}
            merge(value[key], item)
        else:
            value[key] = item


def _check_preconditions(route: Route, old: Obj, meta: Json) -> None:
    """Raise 409 where ``meta`` is that of another object, or of another revision of it."""
    if meta.get("resourceVersion") not in (None, "", str(old.rv)):
        raise conflict(old.resource, route.name)
    uid = meta.get("uid")
    if uid not in (None, "", old.uid):
        raise conflict(
            old.resource,
            route.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}",
        )


def _body(request: Request, resource: Resource) -> Json:
    if request.media_type not in ("application/json", ""):
        raise unsupported_media_type(("application/json",))
    value = decoding.read_json(request.body, resource.kind)
    if value.get("metadata") is None:
        value["metadata"] = {}
    return value


def _strictness(
    request: Request, resource: Resource, unknown: list[str]
) -> tuple[tuple[str, str], ...]:
    mode = request.query.get("fieldValidation", "Warn")
    if not unknown or mode == "Ignore":
        return ()
    if mode == "Strict":
        raise decoding.refuse_unknown(resource, unknown)
    return tuple(("Warning", f'299 - "unknown field \\"{path}\\""') for path in unknown)


def _generated_name(base: str, resource: Resource) -> str:
    if not base:
        raise invalid(resource, "", [required("metadata.name", "name or generateName is required")])
    return generate_name(base)
