"""The examples of the OpenAPI document; a test holds each of them to its model."""

from __future__ import annotations

from typing import Any

JOB_NAME = "build-customer-1-parser-1-5377b83a48"

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "id-1",
    "source": "network.notifi.customer-1",
    "type": "network.notifi.lambda.build.start",
    "data": {"parser_id": "parser-1"},
}
ACCEPTED: dict[str, Any] = {
    "status": "queued",
    "job_name": JOB_NAME,
    "correlation_id": "id-1",
    "event_id": "id-1",
    "queue_size": 1,
    "result_url": f"/async-jobs/{JOB_NAME}",
}
BATCH: dict[str, Any] = {"results": [ACCEPTED]}
BUILD: dict[str, Any] = {
    "job_name": JOB_NAME,
    "correlation_id": "id-1",
    "state": "created",
    "job_uid": "5f0c3c5e-7f3e-4a53-9c7b-0a4f6a0d2f11",
    "namespace": "knative-lambda",
    "attempts": 1,
    "error": None,
    "event": {
        "id": "id-1",
        "source": "network.notifi.customer-1",
        "type": "network.notifi.lambda.build.start",
    },
    "third_party_id": "customer-1",
    "parser_id": "parser-1",
    "priority": "normal",
    "image": None,
    "accepted_at": "2026-11-24T06:00:00.000Z",
    "created_at": "2026-11-24T06:00:00.120Z",
    "started_at": None,
    "finished_at": None,
}
PAGE: dict[str, Any] = {"items": [BUILD], "next_cursor": None}
STATS: dict[str, Any] = {
    "worker_count": 5,
    "busy_workers": 2,
    "min_workers": 5,
    "max_workers": 20,
    "queue_size": 3,
    "max_queue_size": 100,
    "delayed": 1,
    "oldest_queued_seconds": 0.8,
    "results_count": 41,
    "is_shutdown": False,
    "api_available": True,
    "accepted_total": 46,
    "created_total": 39,
    "dead_total": 1,
    "cancelled_total": 1,
    "skipped_total": 0,
    "failed_total": 2,
    "retried_total": 4,
    "rejected_total": 1,
    "duplicates_total": 2,
    "panics_total": 0,
}
PROBLEM: dict[str, Any] = {
    "type": "urn:lambda-builder:problem:invalid_data",
    "title": "Invalid event data",
    "status": 400,
    "detail": "parser_id: is required",
    "code": "invalid_data",
    "correlation_id": "id-1",
    "errors": [{"field": "parser_id", "message": "is required"}],
}
REJECTED: dict[str, Any] = {
    "items": [
        {
            "time": "2026-11-24T06:00:00.000Z",
            "code": "invalid_data",
            "detail": "parser_id: is required",
            "correlation_id": "id-1",
            "excerpt": {"ce-id": "id-1", "bytes": 17, "fields": ["runtime"]},
        }
    ]
}
LOG = "INFO[0000] Retrieving image manifest python:3.11-slim\n"
METRICS = "# TYPE async_job_queue_depth gauge\nasync_job_queue_depth 3.0\n"
