"""Lists: what matches, in pages that a token continues."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from lambda_builder.devcluster.faults import Faults
from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.objects import Json, Obj, Resource
from lambda_builder.devcluster.selection import number, parse, revision
from lambda_builder.devcluster.statuses import bad_request, expired
from lambda_builder.devcluster.store import Store

_NEWEST = -1  # the revision in a token that goes on with whatever is there now
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can "
    "start a new list without the continue parameter, or use the continue token in this response "
    "to retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)


class Lists:
    """Answers list requests. On the server's thread only.

    Pages show what is there when they are asked for, but all tell the revision of the first: who
    watches from there hears of everything that changed between them.
    """

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def select(
        self, namespace: str, request: Request, resource: Resource
    ) -> tuple[Json, list[Obj]]:
        """What a list request asks for, and the metadata of its list."""
        query = request.query
        selector = parse(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        limit = number(query, "limit") or 0
        rv, after = self._begin(query, resource)
        items: list[Obj] = []
        more = False
        for obj in self._store.of(resource).select(namespace, selector, after):
            if limit and len(items) == limit:
                more = True
                break
            items.append(obj)
        meta: Json = {"resourceVersion": str(rv)}
        if more:
            meta["continue"] = _token(rv, items[-1].key)
            if selector.empty:
                remaining = self._store.of(resource).remaining(namespace, items[-1].key)
                meta["remainingItemCount"] = remaining
        return meta, items

    def _begin(self, query: Mapping[str, str], resource: Resource) -> tuple[int, str]:
        """The revision the list tells of, and the key it comes after."""
        token = query.get("continue", "")
        if token:
            return self._continue(token, resource)
        asked = revision(query, self._store.rv)
        exact = query.get("resourceVersionMatch") == "Exact"
        if exact and asked < self._store.of(resource).forgotten_rv:
            raise expired("The resourceVersion for the provided list is too old.")
        return asked if exact else self._store.rv, ""

    def _continue(self, token: str, resource: Resource) -> tuple[int, str]:
        try:
            found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            rv, after = int(found["rv"]), str(found["start"])
        except (ValueError, KeyError, TypeError, binascii.Error) as exc:
            raise bad_request("continue key is not valid: " + str(exc)) from exc
        if rv == _NEWEST:
            return self._store.rv, after
        forgotten = rv < self._store.of(resource).forgotten_rv
        if forgotten or self._faults.for_list(resource.plural) is not None:
            raise expired(_TOO_OLD, {"continue": _token(_NEWEST, after)})
        return rv, after


def encode_list(resource: Resource, meta: Json, items: list[Obj]) -> bytes:
    """Return a list's body."""
    head = (
        f'{{"kind":"{resource.kind}List","apiVersion":"{resource.api_version}",'
        f'"metadata":{json.dumps(meta)},"items":['
    )
    return b"".join((head.encode(), b",".join([obj.encode(typed=False) for obj in items]), b"]}"))


def _token(rv: int, key: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": rv, "start": key})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
