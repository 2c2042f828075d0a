"""What settings are called, and numbers and names that nobody sets."""

from __future__ import annotations

PREFIX = "LAMBDA_BUILDER_"
HTTP_TAIL_SECONDS = 5
"""Time that requests under way get to finish after SIGTERM, beside the drain."""
CLOSING_SECONDS = 2.5
"""Time that deliveries, the journal and telemetry get after the drain."""
BUILD_EVENT_TYPES = (
    "network.notifi.lambda.build.start",
    "io.knative.lambda.command.build.start",
)
CANCEL_EVENT_TYPES = (
    "network.notifi.lambda.build.cancel",
    "io.knative.lambda.command.build.cancel",
)
RETRY_EVENT_TYPES = (
    "network.notifi.lambda.build.retry",
    "io.knative.lambda.command.build.retry",
)
COMMAND_EVENT_TYPES = (*CANCEL_EVENT_TYPES, *RETRY_EVENT_TYPES)
