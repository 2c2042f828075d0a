"""``/devcluster/``: faults, requests, outages and Jobs driven from another process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lambda_builder.devcluster.faults import Fault
from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.jobs import job_state
from lambda_builder.devcluster.objects import JOBS, Json, dumps
from lambda_builder.devcluster.requestlog import RequestLog
from lambda_builder.devcluster.rest import Answer
from lambda_builder.devcluster.statuses import (
    bad_request,
    method_not_allowed,
    no_such_path,
    not_found,
)
from lambda_builder.devcluster.store import Store

Methods = Mapping[str, Callable[[Request], Answer]]


@dataclass(frozen=True)
class Control:
    """What can be steered; each is one call into the running cluster."""

    list_faults: Callable[[], list[Json]]
    add_fault: Callable[[Fault], None]
    clear_faults: Callable[[], None]
    outage: Callable[[float], None]
    finish: Callable[[str, bool, int, str], bool]


class Admin:
    """Answers ``/devcluster/`` requests. On the server's thread only; no faults apply here."""

    def __init__(self, store: Store, log: RequestLog, control: Control, namespace: str) -> None:
        self._store = store
        self._log = log
        self._control = control
        self._namespace = namespace
        self._subjects: dict[str, Methods] = {
            "faults": {
                "GET": self._list_faults,
                "POST": self._add_faults,
                "DELETE": self._clear_faults,
            },
            "requests": {"GET": self._list_requests, "DELETE": self._clear_requests},
            "outage": {"POST": self._outage},
            "jobs-summary": {"GET": self._summary},
        }

    def answer(self, request: Request) -> Answer:
        """Answer one request; raises ``ApiError`` for what there is not."""
        parts = request.path.strip("/").split("/")[1:]
        if len(parts) == 3 and (parts[0], parts[2]) == ("jobs", "finish"):
            methods: Methods = {"POST": partial(self._finish, parts[1])}
        else:
            methods = self._subjects.get("/".join(parts), {})
        if not methods:
            raise no_such_path()
        if request.method not in methods:
            raise method_not_allowed()
        return methods[request.method](request)

    def _list_faults(self, request: Request) -> Answer:
        del request
        return Answer(200, dumps(self._control.list_faults()))

    def _add_faults(self, request: Request) -> Answer:
        value = _json(request)
        listed = value if isinstance(value, list) else [value]
        try:
            found = [Fault.from_json(item) for item in listed]
        except (ValueError, TypeError) as exc:
            raise bad_request(str(exc)) from exc
        for fault in found:
            self._control.add_fault(fault)
        return Answer(201, dumps(self._control.list_faults()))

    def _clear_faults(self, request: Request) -> Answer:
        self._control.clear_faults()
        return self._list_faults(request)

    def _list_requests(self, request: Request) -> Answer:
        del request
        return Answer(200, dumps(self._log.describe()))

    def _clear_requests(self, request: Request) -> Answer:
        self._log.clear()
        return self._list_requests(request)

    def _outage(self, request: Request) -> Answer:
        value = _json(request)
        seconds = value.get("seconds") if isinstance(value, dict) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
            raise bad_request('an outage needs {"seconds": number}')
        self._control.outage(float(seconds))
        return Answer(202, dumps({"seconds": seconds}))

    def _summary(self, request: Request) -> Answer:
        del request
        counts = Counter(job_state(job) for job in self._store.of(JOBS).objects.values())
        states = ("pending", "running", "succeeded", "failed", "suspended", "deleting")
        summary: Json = {state: counts[state] for state in states}
        return Answer(200, dumps({"total": counts.total(), **summary}))

    def _finish(self, name: str, request: Request) -> Answer:
        value = _json(request) if request.body else {}
        if not isinstance(value, dict):
            raise bad_request("expected an object")
        namespace = str(value.get("namespace", self._namespace))
        exit_code = value.get("exit_code", 1)
        if not isinstance(exit_code, int):
            raise bad_request("exit_code must be a number")
        succeeded, reason = value.get("succeeded", True), str(value.get("reason", "Error"))
        if not self._control.finish(f"{namespace}/{name}", bool(succeeded), exit_code, reason):
            raise not_found(JOBS, name)
        job = self._store.of(JOBS).objects[f"{namespace}/{name}"]
        return Answer(200, job.encode())


def _json(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as exc:
        raise bad_request(f"not JSON: {exc}") from exc
