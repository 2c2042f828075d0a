"""Settings: one frozen value, read once from the environment; docs/settings.rst lists them.

Every problem is reported together, by the name of its environment variable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lambda_builder.settings.constants import (
    BUILD_EVENT_TYPES,
    CLOSING_SECONDS,
    COMMAND_EVENT_TYPES,
    HTTP_TAIL_SECONDS,
    PREFIX,
)
from lambda_builder.settings.database import check_journal_url
from lambda_builder.settings.values import (
    URI,
    CommaList,
    ObjectName,
    OptionalRate,
    Seconds,
    SecretName,
    Word,
    network,
    parse_ce_overrides,
    without_blanks,
    without_secrets,
)


class Settings(BaseSettings):
    """The service's configuration; raises pydantic's ``ValidationError``, see ``load``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    worker_count: int = Field(5, ge=1, le=500)
    """Worker threads from the start, and the least there are."""
    worker_count_max: int = Field(20, ge=1, le=500)
    """Most worker threads; equal to ``WORKER_COUNT`` switches scaling off."""
    http_threads: int = Field(16, ge=2, le=1000)
    """gunicorn's threads, each answering one request at a time."""
    streams_max: int = Field(4, ge=1, le=1000)
    """Streams of logs and of changes that may be open at a time, each by a thread of its own."""
    cpu_affinity: Literal["auto", "off"] = "auto"
    """``auto``: the threads run on one core, the one that others use least, since one interpreter
    runs one thread at a time; ``off``: on every core that the process was given."""
    queue_size: int = Field(100, ge=1, le=1_000_000)
    """Builds that may wait, the delayed ones included."""
    queue_max_bytes: int = Field(67_108_864, ge=1_048_576)
    """Most bytes of the events that wait; beyond it the queue is full."""
    queue_discipline: Literal["fifo", "fair"] = "fifo"
    """``fair`` takes turns over tenants (third-party ids); priority orders within a turn."""
    result_ttl_seconds: float = Field(3600, gt=0, allow_inf_nan=False)
    """Seconds that an outcome is remembered."""
    result_max: int = Field(100_000, ge=1)
    """Most outcomes remembered; beyond it the oldest go first."""
    result_max_bytes: int = Field(67_108_864, ge=1_048_576)
    """Most bytes of the builds that are remembered and do not wait: their ids, and the events of
    those that may go again; the oldest lose these first. A search with ``q`` keeps a copy of the
    ids beside, until they change."""
    max_retries: int = Field(3, ge=0, le=100)
    """Attempts beyond the first."""
    retry_base_seconds: Seconds = 0.5
    """Upper bound of the first backoff; it doubles with each attempt."""
    retry_max_seconds: Seconds = 30
    """Upper bound of any backoff."""
    drain_seconds: float = Field(20, ge=0, le=3600, allow_inf_nan=False)
    """Seconds that queued builds get after SIGTERM."""
    namespace: str = Field("knative-lambda", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Namespace of the build Jobs."""
    kube_api_timeout_seconds: float = Field(10, ge=1, le=86400, allow_inf_nan=False)
    """Longest wait for one answer of the Kubernetes API."""
    journal_path: Path | None = None
    """SQLite file that accepted builds are recorded in; empty, as ``JOURNAL_URL`` is, keeps them in
    memory only."""
    journal_url: SecretStr = SecretStr("")
    """PostgreSQL database, ``postgresql://…``, that replicas record accepted builds in and share
    them by, instead of ``JOURNAL_PATH``; needs ``lambda-builder[postgres]``: docs/scaling.rst."""
    journal_password_file: Path | None = None
    """File with the password of that database, read for each connection, so that it may change; it
    goes before one in the URL."""
    lease_seconds: float = Field(15, ge=5, le=300, allow_inf_nan=False)
    """Seconds after which a replica that was not heard of has its builds taken over by others that
    share its database."""
    job_template: Path | None = None
    """YAML file of a Job manifest; empty uses the built-in one."""
    context_url: Word = "s3://knative-lambda-builds/build-context/${parser_id}/context.tar.gz"
    """Build context, unless the event has its own."""
    image: Word = (
        "registry.knative-lambda.svc.cluster.local:5000/knative-lambdas/"
        "${third_party_id_repository}:${parser_id_safe}-${hash}"
    )
    """Image to push, unless the event has its own."""
    registry_secret: SecretName = ""
    """Name of a docker-config Secret, mounted where the image is pushed and nowhere else."""
    pull_secret: SecretName = ""
    """Name of a docker-config Secret for base images; the tenant's steps can read it."""
    cache_secret: SecretName = ""
    """Name of a docker-config Secret that may push to ``CACHE_REPO``; empty: no layer cache."""
    cache_repo: Word = (
        "registry.knative-lambda.svc.cluster.local:5000/knative-lambdas/"
        "${third_party_id_repository}/cache"
    )
    """Repository of the layer cache."""
    service_account: ObjectName = ""
    """ServiceAccount of the build pods; empty is the namespace's default."""
    runtime_class: ObjectName = ""
    """RuntimeClass of the build pods, such as gVisor's or Kata's."""
    user_namespaces: bool = False
    """Run build pods in a user namespace (``hostUsers: false``); not with rootless BuildKit."""
    allowed_context_prefixes: CommaList = ()
    """Build contexts that events may name: these and what is below; empty allows any."""
    allowed_registries: CommaList = ()
    """Registries, and paths in them, that events may have pushed to; empty allows any."""
    provenance_builder_id: Word = ""
    """URI that names this service in provenance; required with a key."""
    provenance_key_file: Path | None = None
    """PEM file with the key, ed25519 or ECDSA P-256, that signs provenance; empty: unsigned."""
    max_active_jobs: int = Field(0, ge=0)
    """Most unfinished Jobs at a time; 0 is no cap."""
    duplicate_policy: Literal["allow", "skip"] = "allow"
    """``skip``: at most one unfinished Job per third party and parser."""
    kueue_queue: ObjectName = ""
    """Kueue LocalQueue of the Jobs; they are then created suspended."""
    ack: Literal["accepted", "created"] = "accepted"
    """When an event is answered: once it is recorded, or once its Job exists."""
    ack_timeout_seconds: Seconds = 10
    """Longest wait of ``ACK=created``."""
    reply_mode: Literal["auto", "json", "empty"] = "auto"
    """Body of an acceptance; ``auto`` follows the request's ``Prefer: reply``."""
    handoff_url: str = ""
    """Where builds left at shutdown are sent back to, usually the Broker."""
    sink_url: str = ""
    """Where build events are sent; empty is ``K_SINK``."""
    k_sink: str = Field("", validation_alias=AliasChoices("K_SINK", "k_sink"))
    """Sink that a Knative SinkBinding injects."""
    dead_letter_url: str = ""
    """Where the events of builds that could not be made are sent."""
    k_ce_overrides: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("K_CE_OVERRIDES", "k_ce_overrides")
    )
    """Knative's JSON of extensions set on outgoing events."""
    strict_cloudevents: bool = False
    """Refuse events that lack a required attribute instead of filling it in."""
    build_event_types: CommaList = BUILD_EVENT_TYPES
    """CloudEvents types that start a build, comma-separated."""
    max_body_bytes: int = Field(1_048_576, ge=65_536, le=64 * 1_048_576)
    """Largest request body."""
    auth_file: Path | None = None
    """YAML file that says who may do what; empty lets everyone do everything: docs/security.rst."""
    read_only: bool = False
    """Nobody may cancel or retry, by the API or by events: 403 ``read_only``."""
    trusted_proxies: CommaList = ()
    """Address ranges, comma-separated, of proxies whose ``Forwarded`` and ``X-Forwarded-*`` are
    believed."""
    tenant_queue_share: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    """Most of the queue that one tenant may fill: 429 ``tenant_limit`` beyond."""
    tenant_rate: OptionalRate = None
    """Start events of one tenant, as ``per second/burst``: ``10/20``. Each replica counts for
    itself."""
    rate: OptionalRate = None
    """The same for all tenants together: 429 ``rate_limit`` beyond."""
    failure_backoff_seconds: float = Field(0, ge=0, le=86400, allow_inf_nan=False)
    """How long a parser is not built again whose last Job failed for its ``dockerfile``,
    ``context`` or a ``dependency``: 429 ``failure_backoff``. A retry is."""
    log_format: Literal["json", "console"] = "json"
    """``json``: one object a line; ``console``: for reading."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Nothing below is logged."""
    port: int = Field(8080, ge=1, le=65535, validation_alias=AliasChoices("PORT", "port"))
    """Port that HTTP is served on."""
    host: Word = "0.0.0.0"  # noqa: S104 - a container is reached from outside
    """Address that HTTP is served on."""

    @field_validator("build_event_types", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if not value:
            raise ValueError("names no event type")
        if commands := [kind for kind in value if kind in COMMAND_EVENT_TYPES]:
            raise ValueError(f"{commands[0]} cancels or retries builds, so it cannot start any")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return tuple(network(part) for part in value)

    @field_validator("allowed_context_prefixes", "allowed_registries", mode="before")
    @classmethod
    def _split_places(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("provenance_builder_id")
    @classmethod
    def _uri(cls, value: str) -> str:
        if value and not URI.match(value):
            raise ValueError("must be a URI")
        return value

    @field_validator(
        "journal_path",
        "journal_password_file",
        "job_template",
        "auth_file",
        "provenance_key_file",
        mode="before",
    )
    @classmethod
    def _path(cls, value: Any) -> Any:
        if isinstance(value, str) and value != value.strip():
            raise ValueError("must not begin or end with blanks")
        return value

    @field_validator(
        "log_level", "log_format", "queue_discipline", "ack", "cpu_affinity", mode="before"
    )
    @classmethod
    def _fold_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("handoff_url", "sink_url", "k_sink", "dead_letter_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        url = urlsplit(without_blanks(value))
        if value and not (url.scheme in ("http", "https") and url.hostname and url.port != 0):
            raise ValueError("must be an http:// or https:// URL")
        return value

    @field_validator("journal_url")
    @classmethod
    def _database_url(cls, value: SecretStr) -> SecretStr:
        if url := value.get_secret_value():
            check_journal_url(url)
        return value

    @field_validator("k_ce_overrides")
    @classmethod
    def _overrides(cls, value: SecretStr) -> SecretStr:
        parse_ce_overrides(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        problems = []
        if self.worker_count_max < self.worker_count:
            problems.append(f"{PREFIX}WORKER_COUNT_MAX must be at least {PREFIX}WORKER_COUNT")
        if self.retry_max_seconds < self.retry_base_seconds:
            problems.append(
                f"{PREFIX}RETRY_MAX_SECONDS must be at least {PREFIX}RETRY_BASE_SECONDS"
            )
        if self.journal_path and self.has_shared_journal:
            problems.append(f"{PREFIX}JOURNAL_PATH and {PREFIX}JOURNAL_URL exclude each other")
        if self.journal_password_file and not self.has_shared_journal:
            problems.append(f"{PREFIX}JOURNAL_PASSWORD_FILE needs {PREFIX}JOURNAL_URL")
        if self.provenance_key_file and not self.provenance_builder_id:
            problems.append(
                f"{PREFIX}PROVENANCE_KEY_FILE needs {PREFIX}PROVENANCE_BUILDER_ID, a URI of yours"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Yield what a debugger or a traceback may show: no password and no query of a URL."""
        for name, value in super().__repr_args__():
            yield name, without_secrets(value) if isinstance(value, str) else value

    @property
    def has_shared_journal(self) -> bool:
        """Whether builds are recorded in a database that other replicas share."""
        return bool(self.journal_url.get_secret_value())

    @property
    def has_journal(self) -> bool:
        """Whether builds are recorded anywhere that outlasts the process."""
        return self.journal_path is not None or self.has_shared_journal

    @property
    def graceful_timeout(self) -> int:
        """gunicorn's ``graceful_timeout``, in seconds: above HTTP tail + drain."""
        return math.ceil(HTTP_TAIL_SECONDS + self.drain_seconds + CLOSING_SECONDS)

    @property
    def effective_sink_url(self) -> str:
        """``SINK_URL``, else Knative's ``K_SINK``; empty sends nothing."""
        return self.sink_url or self.k_sink

    @property
    def ce_override_extensions(self) -> dict[str, str]:
        """Extensions that ``K_CE_OVERRIDES`` asks for on outgoing events."""
        return parse_ce_overrides(self.k_ce_overrides.get_secret_value())
