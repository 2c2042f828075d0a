"""``/devcluster/``: faults, requests, outages and Jobs driven from another process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from lambda_builder.devcluster.faults import Fault
from lambda_builder.devcluster.http_request import Request
from lambda_builder.devcluster.objects import JOBS, Json, Obj, dumps
from lambda_builder.devcluster.requestlog import RequestLog
from lambda_builder.devcluster.rest import Answer
from lambda_builder.devcluster.statuses import (
    bad_request,
    method_not_allowed,
    no_such_path,
    not_found,
)
from lambda_builder.devcluster.store import Store


class Control:
    """What can be steered; each is one call into the running cluster."""

    def __init__(
        self,
        list_faults: Callable[[], list[Json]],
        add_fault: Callable[[Fault], None],
        clear_faults: Callable[[], None],
        outage: Callable[[float], None],
        finish: Callable[[str, bool, int, str], bool],
    ) -> None:
        self.list_faults = list_faults
        self.add_fault = add_fault
        self.clear_faults = clear_faults
        self.outage = outage
        self.finish = finish


class Admin:
    """Answers ``/devcluster/`` requests. On the server's thread only; no faults apply here."""

    def __init__(self, store: Store, log: RequestLog, control: Control, namespace: str) -> None:
        self._store = store
        self._log = log
        self._control = control
        self._namespace = namespace

    def answer(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")[1:]
        subject = parts[0] if parts else ""
        if subject == "jobs" and len(parts) == 3 and parts[2] == "finish":
            return self._finish(parts[1], request)
        handler = {
            "faults": self._faults,
            "requests": self._requests,
            "outage": self._outage,
            "jobs-summary": self._summary,
        }.get(subject)
        if handler is None or len(parts) > 1:
            raise no_such_path()
        return handler(request)

    def _faults(self, request: Request) -> Answer:
        if request.method == "POST":
            value = _json(request)
            listed = value if isinstance(value, list) else [value]
            try:
                found = [Fault.from_json(item) for item in listed]
            except (ValueError, TypeError) as exc:
                raise bad_request(str(exc)) from exc
            for fault in found:
                self._control.add_fault(fault)
            return Answer(201, dumps(self._control.list_faults()))
        if request.method == "DELETE":
            self._control.clear_faults()
        elif request.method != "GET":
            raise method_not_allowed()
        return Answer(200, dumps(self._control.list_faults()))

    def _requests(self, request: Request) -> Answer:
        if request.method == "DELETE":
            self._log.clear()
        elif request.method != "GET":
            raise method_not_allowed()
        return Answer(200, dumps(self._log.describe()))

    def _outage(self, request: Request) -> Answer:
        if request.method != "POST":
            raise method_not_allowed()
        value = _json(request)
        seconds = value.get("seconds") if isinstance(value, dict) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
            raise bad_request('an outage needs {"seconds": number}')
        self._control.outage(float(seconds))
        return Answer(202, dumps({"seconds": seconds}))

    def _summary(self, request: Request) -> Answer:
        if request.method != "GET":
            raise method_not_allowed()
        counts = Counter(job_state(job) for job in self._store.of(JOBS).objects.values())
        states = ("pending", "running", "succeeded", "failed", "suspended", "deleting")
        summary: Json = {state: counts[state] for state in states}
        return Answer(200, dumps({"total": counts.total(), **summary}))

    def _finish(self, name: str, request: Request) -> Answer:
        if request.method != "POST":
            raise method_not_allowed()
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


def job_state(job: Obj) -> str:
    """A Job's state in one word."""
    if job.deleting:
        return "deleting"
    for mark, state in (
        (b'"type":"Complete"', "succeeded"),
        (b'"type":"Failed"', "failed"),
        (b'"type":"Suspended"', "suspended"),
        (b'"ready":1', "running"),
    ):
        if mark in job.status:
            return state
    return "pending"


def _json(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as exc:
        raise bad_request(f"not JSON: {exc}") from exc
