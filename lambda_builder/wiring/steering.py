"""What finds, lists, cancels and retries builds."""

from __future__ import annotations

from dataclasses import dataclass

from lambda_builder.steering.audit import Audit
from lambda_builder.steering.command_events import CommandEvents
from lambda_builder.steering.commands import BuildCommands
from lambda_builder.steering.elsewhere import Elsewhere
from lambda_builder.steering.execution import CommandExecution
from lambda_builder.steering.inspection import Inspection
from lambda_builder.steering.listing import BuildList
from lambda_builder.steering.logs import BuildLogs
from lambda_builder.steering.queries import BuildFinder
from lambda_builder.wiring.base import Base
from lambda_builder.wiring.pipeline import Pipeline
from lambda_builder.wiring.watched import Watched


@dataclass(frozen=True, slots=True)
class Steering:
    """What finds, lists, cancels and retries builds."""

    builds: BuildFinder
    listing: BuildList
    commands: BuildCommands
    command_events: CommandEvents
    audit: Audit
    logs: BuildLogs
    inspection: Inspection


def build_steering(base: Base, watched: Watched, pipeline: Pipeline) -> Steering:
    """Make what users steer builds by."""
    builds = BuildFinder(
        base.results,
        base.journal,
        base.jobs,
        watched.watcher,
        base.health,
        watched.lifecycle.current,
    )
    commands = BuildCommands(
        pipeline.queue, base.ledger, base.live, base.results, base.runner, builds
    )
    audit = Audit(base.journal)
    execution = CommandExecution(commands, builds, base.live, base.results, watched.watcher, audit)
    return Steering(
        builds=builds,
        listing=BuildList(
            base.results,
            watched.watcher.search,
            watched.diagnosis.reasons,
            pipeline.queue.positions,
            Elsewhere(
                base.journal,
                watched.watcher.by_event,
                watched.diagnosis.known,
                watched.lifecycle.current,
            ),
        ),
        commands=commands,
        command_events=CommandEvents(
            execution, base.journal, base.health, last_number=lambda: base.results.last_number
        ),
        audit=audit,
        logs=BuildLogs(base.jobs, base.pods, watched.watcher, base.results.by_event),
        inspection=Inspection(builds, base.jobs, base.journal),
    )
