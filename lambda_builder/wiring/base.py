"""What nearly everything else is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambda_builder.access.limits import Limits
from lambda_builder.journal import Journal, NoJournal, SqliteJournal
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.health import ApiHealth
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.lease import identity
from lambda_builder.kube.pods import PodReader
from lambda_builder.lifecycle.provenance import Provenance
from lambda_builder.lifecycle.signing import signer_of
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.capacity import Capacity
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import LiveBuilds
from lambda_builder.pipeline.results import ResultStore
from lambda_builder.pipeline.runner import BuildRunner
from lambda_builder.precedence import Precedence
from lambda_builder.settings import COMMAND_EVENT_TYPES, Settings
from lambda_builder.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from lambda_builder.access.directory import Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What nearly everything else is made of."""

    settings: Settings
    metrics: Metrics
    precedence: Precedence
    directory: Directory | None
    limits: Limits
    client: KubeClient
    health: ApiHealth
    capacity: Capacity
    jobs: JobManager
    pods: PodReader
    template: JobTemplate
    provenance: Provenance
    runner: BuildRunner
    announcer: Announcer
    journal: Journal
    results: ResultStore
    changes: ChangeFeed
    live: LiveBuilds
    ledger: Ledger

    @classmethod
    def of(cls, settings: Settings) -> Base:
        metrics = Metrics(event_types=(*settings.build_event_types, *COMMAND_EVENT_TYPES))
        precedence = Precedence()
        client = KubeClient.from_settings(
            settings, observe=metrics.observe_api_call, precedence=precedence
        )
        jobs = JobManager(client, settings.namespace)
        template = JobTemplate.from_settings(settings)
        announcer = Announcer(
            # The same on every replica: news told again by the next leader is the same event.
            source=f"lambda-builder/{settings.namespace}",
            overrides=settings.ce_override_extensions,
            sink=bool(settings.effective_sink_url),
            dead_letters=bool(settings.dead_letter_url),
        )
        journal, live, changes = _journal(settings), LiveBuilds(), ChangeFeed()
        announcements = Announcements(announcer, journal.outbox)
        results = ResultStore(
            ttl_seconds=settings.result_ttl_seconds,
            maximum=settings.result_max,
            max_bytes=settings.result_max_bytes,
            changed=changes.note,
        )
        return cls(
            settings=settings,
            metrics=metrics,
            precedence=precedence,
            directory=_directory(settings),
            limits=Limits(tenant_rate=settings.tenant_rate, rate=settings.rate, metrics=metrics),
            client=client,
            health=ApiHealth(client.probe),
            capacity=Capacity(),
            jobs=jobs,
            pods=PodReader(client, settings.namespace),
            template=template,
            provenance=Provenance(
                jobs,
                template.context_url,
                builder_id=settings.provenance_builder_id,
                signer=signer_of(settings),
            ),
            runner=BuildRunner(template, jobs, one_per_target=settings.duplicate_policy == "skip"),
            announcer=announcer,
            journal=journal,
            results=results,
            changes=changes,
            live=live,
            ledger=Ledger(results, live, journal, announcements, namespace=settings.namespace),
        )

    @property
    def one_per_target(self) -> bool:
        return self.settings.duplicate_policy == "skip"

    def api_is_available(self) -> bool:
        return self.health.available

    def is_stalled(self) -> bool:
        return self.capacity.blocked or not self.health.available


def _directory(settings: Settings) -> Directory | None:
    if settings.auth_file is None:
        return None
    # Only here: it takes time and memory to import.
    from lambda_builder.access.directory import Directory  # noqa: PLC0415

    # Most threads stay free for those who need no issuer's answer.
    return Directory(settings.auth_file, waiting=max(1, settings.http_threads // 4))


def _journal(settings: Settings) -> Journal:
    if settings.has_shared_journal:
        # Only here: its driver is an extra.
        from lambda_builder.journal.postgres.store import PostgresJournal  # noqa: PLC0415

        return PostgresJournal(
            settings.journal_url.get_secret_value(),
            name=identity(),
            lease_seconds=settings.lease_seconds,
            capacity=settings.queue_size,
            max_active=settings.max_active_jobs,
            keep_seconds=settings.result_ttl_seconds,
            keep_max=settings.result_max,
            password_file=settings.journal_password_file,
        )
    if settings.journal_path is None:
        return NoJournal()
    return SqliteJournal(
        settings.journal_path,
        keep_seconds=settings.result_ttl_seconds,
        keep_max=settings.result_max,
    )
