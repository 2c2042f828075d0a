"""Settings: one frozen value, read once from the environment; docs/settings.rst lists them.

Every problem is reported together, by the name of its environment variable.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lambda_builder.errors import BootError

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


_PASSWORD = re.compile(r"://[^/@\s]*@")
_QUERY = re.compile(r"(?<=://)([^?]*)\?.+")


class Rate(NamedTuple):
    """How many events may come: so many a second, and so many at once after a pause."""

    per_second: float
    burst: int

    @property
    def seconds(self) -> float:
        """How long it takes until so many at once may come again."""
        return self.burst / self.per_second

    def __str__(self) -> str:
        return f"{self.per_second:g}/{self.burst}"


_Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
_CommaList = Annotated[tuple[str, ...], NoDecode]
_OBJECT_NAME = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
_ObjectName = Annotated[str, Field(max_length=253, pattern=_OBJECT_NAME)]
"""Empty, or the name of an object in Kubernetes: a DNS-1123 subdomain."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_WITHOUT_PREFIX = ("port", "k_sink", "k_ce_overrides")
_CLIENT_VARIABLES = (f"{PREFIX}URL", f"{PREFIX}TOKEN")
"""Of the command line, which talks to a running service."""
_MADE_BY_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)/([1-9][0-9]{0,5})")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
"""How Kubernetes writes ``…_PORT``: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""


def _without_blanks(value: str) -> str:
    if any(character.isspace() for character in value):
        raise ValueError("must not have blanks in it")
    return value


_Word = Annotated[str, AfterValidator(_without_blanks)]


def _rate(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _RATE.fullmatch(value)
    if not found or not float(found[1]):
        raise ValueError("must be events per second and a burst, like 10/20")
    return Rate(float(found[1]), int(found[2]))


_Rate = Annotated[Rate | None, NoDecode, BeforeValidator(_rate)]


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError as error:
        raise ValueError(f"{value!r} is no address range like 10.0.0.0/8") from error


def _secret_name(value: str) -> str:
    if not re.fullmatch(_OBJECT_NAME, _PLACEHOLDER.sub("x", value)):
        raise ValueError("must be the name of a Secret; placeholders like ${third_party_id_name}")
    return value


_SecretName = Annotated[str, Field(max_length=253), AfterValidator(_secret_name)]
"""Empty, or the name of a Secret with placeholders, one for each tenant."""


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
    retry_base_seconds: _Seconds = 0.5
    """Upper bound of the first backoff; it doubles with each attempt."""
    retry_max_seconds: _Seconds = 30
    """Upper bound of any backoff."""
    drain_seconds: float = Field(20, ge=0, le=3600, allow_inf_nan=False)
    """Seconds that queued builds get after SIGTERM."""
    namespace: str = Field("knative-lambda", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Namespace of the build Jobs."""
    kube_api_timeout_seconds: float = Field(10, ge=1, le=86400, allow_inf_nan=False)
    """Longest wait for one answer of the Kubernetes API."""
    journal_path: Path | None = None
    """SQLite file that accepted builds are recorded in; empty keeps them in memory only."""
    job_template: Path | None = None
    """YAML file of a Job manifest; empty uses the built-in one."""
    context_url: _Word = "s3://knative-lambda-builds/build-context/${parser_id}/context.tar.gz"
    """Build context, unless the event has its own."""
    image: _Word = (
        "registry.knative-lambda.svc.cluster.local:5000/knative-lambdas/"
        "${third_party_id_repository}:${parser_id_safe}-${hash}"
    )
    """Image to push, unless the event has its own."""
    registry_secret: _SecretName = ""
    """Name of a docker-config Secret, mounted where the image is pushed and nowhere else."""
    pull_secret: _SecretName = ""
    """Name of a docker-config Secret for base images; the tenant's steps can read it."""
    cache_secret: _SecretName = ""
    """Name of a docker-config Secret that may push to ``CACHE_REPO``; empty: no layer cache."""
    cache_repo: _Word = (
        "registry.knative-lambda.svc.cluster.local:5000/knative-lambdas/"
        "${third_party_id_repository}/cache"
    )
    """Repository of the layer cache."""
    service_account: _ObjectName = ""
    """ServiceAccount of the build pods; empty is the namespace's default."""
    runtime_class: _ObjectName = ""
    """RuntimeClass of the build pods, such as gVisor's or Kata's."""
    user_namespaces: bool = False
    """Run build pods in a user namespace (``hostUsers: false``); not with rootless BuildKit."""
    allowed_context_prefixes: _CommaList = ()
    """Build contexts that events may name: these and what is below; empty allows any."""
    allowed_registries: _CommaList = ()
    """Registries, and paths in them, that events may have pushed to; empty allows any."""
    provenance_builder_id: _Word = ""
    """URI that names this service in provenance; required with a key."""
    provenance_key_file: Path | None = None
    """PEM file with the key, ed25519 or ECDSA P-256, that signs provenance; empty: unsigned."""
    max_active_jobs: int = Field(0, ge=0)
    """Most unfinished Jobs at a time; 0 is no cap."""
    duplicate_policy: Literal["allow", "skip"] = "allow"
    """``skip``: at most one unfinished Job per third party and parser."""
    kueue_queue: _ObjectName = ""
    """Kueue LocalQueue of the Jobs; they are then created suspended."""
    ack: Literal["accepted", "created"] = "accepted"
    """When an event is answered: once it is recorded, or once its Job exists."""
    ack_timeout_seconds: _Seconds = 10
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
    build_event_types: _CommaList = BUILD_EVENT_TYPES
    """CloudEvents types that start a build, comma-separated."""
    max_body_bytes: int = Field(1_048_576, ge=65_536, le=64 * 1_048_576)
    """Largest request body."""
    auth_file: Path | None = None
    """YAML file that says who may do what; empty lets everyone do everything: docs/security.rst."""
    read_only: bool = False
    """Nobody may cancel or retry, by the API or by events: 403 ``read_only``."""
    trusted_proxies: _CommaList = ()
    """Address ranges, comma-separated, of proxies whose ``Forwarded`` and ``X-Forwarded-*`` are
    believed."""
    tenant_queue_share: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    """Most of the queue that one tenant may fill: 429 ``tenant_limit`` beyond."""
    tenant_rate: _Rate = None
    """Start events of one tenant, as ``per second/burst``: ``10/20``. Each replica counts for
    itself."""
    rate: _Rate = None
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
    host: _Word = "0.0.0.0"  # noqa: S104 - a container is reached from outside
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
        return tuple(_network(part) for part in value)

    @field_validator("allowed_context_prefixes", "allowed_registries", mode="before")
    @classmethod
    def _split_places(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("provenance_builder_id")
    @classmethod
    def _uri(cls, value: str) -> str:
        if value and not _URI.match(value):
            raise ValueError("must be a URI")
        return value

    @field_validator(
        "journal_path", "job_template", "auth_file", "provenance_key_file", mode="before"
    )
    @classmethod
    def _path(cls, value: Any) -> Any:
        if isinstance(value, str) and value != value.strip():
            raise ValueError("must not begin or end with blanks")
        return value

    @field_validator("log_level", "log_format", "queue_discipline", "ack", mode="before")
    @classmethod
    def _fold_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("handoff_url", "sink_url", "k_sink", "dead_letter_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        url = urlsplit(_without_blanks(value))
        if value and not (url.scheme in ("http", "https") and url.hostname and url.port != 0):
            raise ValueError("must be an http:// or https:// URL")
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


def without_secrets(text: str) -> str:
    """Return a URL without what it may have of user, password and query; other text as it is."""
    return _QUERY.sub(r"\1?***", _PASSWORD.sub("://***@", text))


_OVERRIDES = 'must be JSON like {"extensions": {"name": "value"}}'


def parse_ce_overrides(text: str) -> dict[str, str]:
    """Read Knative's ``K_CE_OVERRIDES``: ``{"extensions": {name: value}}``.

    Raises ``ValueError`` for anything else; empty is no overrides.
    """
    if not text.strip():
        return {}
    try:
        overrides = json.loads(text)
    except ValueError as error:
        raise ValueError(_OVERRIDES) from error
    extensions = overrides.get("extensions") or {} if isinstance(overrides, dict) else None
    if not isinstance(extensions, dict):
        raise ValueError(_OVERRIDES)
    return {str(name).lower(): str(value) for name, value in extensions.items()}


def load() -> Settings:
    """Read the environment; raises ``BootError`` that lists every problem, one a line."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"  {_variable(each['loc'])}{_message(each)}" for each in error.errors()]
        raise BootError("\n".join(["invalid settings:", *lines])) from error


def _variable(location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    name = str(location[0]).upper()
    bare = name.startswith(PREFIX) or name.lower() in _WITHOUT_PREFIX
    return f"{name if bare else PREFIX + name}: "


def _message(problem: ErrorDetails) -> str:
    """Say what a value must be, and what it is where that is no secret."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    told = _MESSAGES.get(kind, problem["msg"]).format(**context)
    shown = problem["input"]
    return f"{told}, is {shown[:100]!r}" if isinstance(shown, str) else told


_MESSAGES = {
    "greater_than": "must be over {gt:.10g}",
    "greater_than_equal": "must be at least {ge:.10g}",
    "less_than_equal": "must be at most {le:.10g}",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "string_too_long": "must be at most {max_length} characters long",
    "string_pattern_mismatch": (
        "must be a name as Kubernetes has them: of a-z, 0-9 and dashes, which are not at its ends"
    ),
}


def variables() -> list[str]:
    """Return the environment variables that are settings."""
    names = Settings.model_fields
    return [n.upper() if n in _WITHOUT_PREFIX else PREFIX + n.upper() for n in names]


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Return the variables with our prefix that are no setting, each with the nearest that is.

    Those that Kubernetes makes for a Service of our name do not count.
    """
    known = [*variables(), *_CLIENT_VARIABLES]
    unknown = sorted(
        name
        for name, value in environ.items()
        if name.startswith(PREFIX)
        and name.upper() not in known
        and not _MADE_BY_KUBERNETES.fullmatch(name)
        and not (name.endswith("_PORT") and _ADDRESS.match(value))
    )
    # ``PORT`` is no setting of ours with the prefix, and the first thing that somebody tries.
    nearest = {f"{PREFIX}{name.upper()}": name.upper() for name in _WITHOUT_PREFIX}
    return [(name, nearest.get(name) or _nearest(name, known)) for name in unknown]


def _nearest(name: str, known: list[str]) -> str | None:
    bare = [variable.removeprefix(PREFIX) for variable in known]
    found = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return known[bare.index(found[0])] if found else None
