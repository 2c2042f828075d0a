"""What the views reach the service through: one frozen value, kept with the Flask app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from lambda_builder.access.checks import Access
from lambda_builder.access.limits import Limits
from lambda_builder.errors import RefusalCode
from lambda_builder.events.reader import EventReader
from lambda_builder.lifecycle.provenance import Provenance
from lambda_builder.pipeline.acceptance import Acceptance
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.creator import AsyncJobCreator
from lambda_builder.pipeline.rejections import Rejections
from lambda_builder.settings import Settings
from lambda_builder.steering.audit import Audit
from lambda_builder.steering.bulk import BulkCommands
from lambda_builder.steering.command_events import CommandEvents
from lambda_builder.steering.commands import BuildCommands
from lambda_builder.steering.inspection import Inspection
from lambda_builder.steering.listing import BuildList
from lambda_builder.steering.logs import BuildLogs
from lambda_builder.steering.queries import BuildFinder
from lambda_builder.telemetry.metrics import Metrics
from lambda_builder.telemetry.minutes import MinuteCounts
from lambda_builder.web.slots import Slots

EXTENSION = "lambda_builder"
"""Where the Flask app has its ``Services``."""
_PATIENCE_SECONDS = 0.25
"""Longer than what needs no answer of Kubernetes takes, shorter than any probe's patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadBudget:
    """Who may hold HTTP threads for long; one thread is left for probes in any case."""

    kubernetes: Slots
    """Whatever may wait for an answer of Kubernetes: cancels, retries, builds looked up."""
    acknowledgements: Slots
    """Events that are answered once their Job exists."""
    recording: Slots
    """Events that wait for the journal's disk."""
    pages: Slots
    """Pages that are made for people; those that are kept need none."""
    streams: Slots
    """Open streams: they have threads of their own, these are all of them."""
    change_streams: Slots
    """Those of them that may be of changes: one is left for whoever wants to read a log."""

    @classmethod
    def of(cls, http_threads: int, streams_max: int) -> ThreadBudget:
        """Divide ``http_threads``: at most half for acknowledgements."""
        most = Slots(
            max(1, http_threads - 1),
            "requests waiting for Kubernetes",
            patience_seconds=_PATIENCE_SECONDS,
        )
        streams = Slots(streams_max, "open streams", code=RefusalCode.TOO_MANY_STREAMS)
        return cls(
            kubernetes=most,
            acknowledgements=Slots(
                max(1, http_threads // 2), "requests waiting for their Jobs", within=most
            ),
            recording=Slots(
                max(1, http_threads - 2),
                "requests waiting for the journal",
                patience_seconds=_PATIENCE_SECONDS,
            ),
            pages=Slots(
                max(1, http_threads // 4), "pages being made", patience_seconds=_PATIENCE_SECONDS
            ),
            streams=streams,
            change_streams=Slots(
                max(1, streams_max - 1),
                "open streams of changes",
                within=streams,
                code=RefusalCode.TOO_MANY_STREAMS,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the views use. Thread-safe, as each of its parts is."""

    settings: Settings
    access: Access
    limits: Limits
    reader: EventReader
    creator: AsyncJobCreator
    acceptance: Acceptance
    builds: BuildFinder
    listing: BuildList
    commands: BuildCommands
    bulk: BulkCommands
    command_events: CommandEvents
    logs: BuildLogs
    provenance: Provenance
    metrics: Metrics
    rejections: Rejections
    changes: ChangeFeed
    minutes: MinuteCounts
    inspection: Inspection
    audit: Audit
    threads: ThreadBudget


def current_services() -> Services:
    """Return the services of the app that answers the present request."""
    return cast(Services, current_app.extensions[EXTENSION])
