"""The calls that the service makes are those that the chart's Role allows: no more and no less."""

from __future__ import annotations

import json
from pathlib import Path

import requests

from tests.http_sink import HttpSink
from tests.processes import ROOT, ClusterProcess, ServiceProcess
from tests.waiting import wait_until

GROUPS = {
    "jobs": "batch",
    "leases": "coordination.k8s.io",
    "pods": "",
    "pods/log": "",
    "events": "",
}
RECORDED = ROOT / "tests" / "chart" / "api_calls.json"


def test_every_call_that_the_service_makes_is_on_record(tmp_path: Path) -> None:
    sink = HttpSink()
    try:
        with (
            ClusterProcess(tmp_path, "--run-seconds", "1", "--pending-seconds", "0.1") as cluster,
            ServiceProcess(
                cluster.kubeconfig, tmp_path, sink_url=sink.url, duplicate_policy="skip"
            ) as service,
        ):
            cluster.add_fault("fail", name_prefix="build-customer-parser-bad", status=1)
            cluster.add_fault("refuse_pods", name_prefix="build-customer-parser-refused")
            for name in ("good", "bad", "refused"):
                assert service.post(name).status_code == 200
            service.get("/async-jobs/good/logs?follow=true")
            service.get("/async-jobs/of-nobody")
            wait_until(lambda: "complete" in sink.types(), "the completion", 30)
            wait_until(lambda: "failed" in sink.types(), "the failure", 30)
            wait_until(
                lambda: service.get("/async-jobs/refused").json()["error"], "the refusal", 30
            )
            requests.delete(f"{service.url}/async-jobs/refused", timeout=10).raise_for_status()
            service.terminate()
            made = {
                ("create" if call["verb"] == "dry-run" else call["verb"], call["resource"])
                for call in cluster.requests()
                if call["resource"] in GROUPS
            }
    finally:
        sink.close()
    recorded = {(call["verb"], call["resource"]) for call in json.loads(RECORDED.read_text())}
    assert made == recorded
    assert all(
        call["group"] == GROUPS[call["resource"]] for call in json.loads(RECORDED.read_text())
    )
