"""Builds as plain values: what was asked for, what became of it, and how its Job is named.

Knows no I/O and no threads; every value is frozen and may be shared between threads.

The fields of a build are written here and nowhere else: each says by its marks where it goes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

from lambda_builder.jsontext import dump_text

_NAME_BUDGET = 45
"""Characters that both ids share in a Job name: 63 less ``build-``, two dashes and 10 digits."""
_NAME_SHARE = 22
_DIGEST_DIGITS = 32
SOURCE_PREFIX = "network.notifi."
UNKNOWN_SOURCE = "unknown"
"""The source of an event that names none, and the third party of one whose source says nothing."""
SKIPPED = "skipped"
"""Error code of a build that got no Job because another of its target is active."""
_NO_ARGS: Mapping[str, str] = MappingProxyType({})
_NOT_DNS = re.compile(r"[^a-z0-9]+")


class Priority(StrEnum):
    """Higher ones leave the queue first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class BuildState(StrEnum):
    """Where a build is in its life; see docs/architecture.rst for the transitions."""

    QUEUED = "queued"
    CREATING = "creating"
    RETRYING = "retrying"
    CREATED = "created"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def waits(self) -> bool:
        """Whether the build still waits for its Job, so that it must not be forgotten."""
        return self in _WAITING

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to the build by itself."""
        return self in _FINAL

    @property
    def retryable(self) -> bool:
        """Whether the build may be let go again."""
        return self in (BuildState.DEAD, BuildState.FAILED)


class FailureCategory(StrEnum):
    """Why a build failed, or its Job does not run, in one word; docs/failures.rst has the rules."""

    DOCKERFILE = "dockerfile"
    CONTEXT = "context"
    REGISTRY_AUTH = "registry_auth"
    REGISTRY_LIMIT = "registry_limit"
    IMAGE_PULL = "image_pull"
    OUT_OF_MEMORY = "out_of_memory"
    DISK = "disk"
    TIMEOUT = "timeout"
    EVICTED = "evicted"
    QUOTA = "quota"
    DEPENDENCY = "dependency"
    PLATFORM = "platform"
    UNKNOWN = "unknown"


_WAITING = frozenset({BuildState.QUEUED, BuildState.CREATING, BuildState.RETRYING})
_FINAL = frozenset({BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED, BuildState.DEAD})


def netstring_digest(*parts: str) -> str:
    """Return the SHA-256, in hex, over the netstrings of ``parts`` in UTF-8.

    Netstrings keep ("ab", "c") and ("a", "bc") apart, which a plain concatenation would not.
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:%s," % (len(raw), raw))
    return digest.hexdigest()


def third_party_of(source: str) -> str:
    """Return the third party that a CloudEvents ``source`` stands for."""
    return source.removeprefix(SOURCE_PREFIX) or UNKNOWN_SOURCE


def digest_bytes(digits: str) -> bytes:
    """Return the first 32 hex digits of a digest as bytes; empty where they are none."""
    try:
        return bytes.fromhex(digits[:_DIGEST_DIGITS])
    except ValueError:
        return b""


def job_name(third_party_id: str, parser_id: str, digest: str) -> str:
    """Return ``build-{third_party_id}-{parser_id}-{hash}``: a DNS-1123 label of at most 63.

    Each id has 22 characters and what the other leaves of 45; ``digest`` gives the first ten
    hex digits.
    """
    first, second = _dns_part(third_party_id), _dns_part(parser_id)
    first_room = max(_NAME_SHARE, _NAME_BUDGET - len(second))
    second_room = max(_NAME_SHARE, _NAME_BUDGET - len(first))
    first, second = first[:first_room].rstrip("-"), second[:second_room].rstrip("-")
    return f"build-{first}-{second}-{digest[:10]}"


def _dns_part(value: str) -> str:
    return _NOT_DNS.sub("-", value.lower()).strip("-") or "x"


class Mark(Enum):
    """Where a field of a build goes, beside the journal and Job templates, which have them all."""

    LOG = "log"
    """Into every log line about the build."""
    JOB = "job"
    """On the Job, as an annotation: what every replica knows of a build that has one."""
    DATA = "data"
    """It comes with the data of the event."""


_LOG, _JOB, _DATA = Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One accepted event, as far as building needs it; enough to build without the sender."""

    event_id: Annotated[str, _LOG, _JOB]
    event_source: Annotated[str, _JOB]
    event_type: Annotated[str, _JOB]
    parser_id: Annotated[str, _LOG, _JOB, _DATA]
    third_party_id: Annotated[str, _LOG, _JOB, _DATA]
    correlation_id: Annotated[str, _LOG, _JOB]
    event_hash: str
    """Identity of the event: hex SHA-256 of its source and id."""
    job_name: Annotated[str, _LOG]
    priority: Annotated[Priority, _JOB, _DATA] = Priority.NORMAL
    runtime: Annotated[str | None, _DATA] = None
    context_url: Annotated[str | None, _DATA] = None
    image: Annotated[str | None, _JOB, _DATA] = None
    content_hash: Annotated[str | None, _DATA] = None
    build_args: Annotated[Mapping[str, str], _DATA] = field(default_factory=dict)
    event: bytes = b""
    """The CloudEvent as it came, as structured-mode JSON in UTF-8; a ``str`` could take four times
    as much. Empty where it is not known any more."""
    traceparent: Annotated[str | None, _JOB] = None
    accepted_at: Annotated[float, _JOB] = 0.0
    """Seconds since the epoch, of which milliseconds count: builds are listed by it, and no replica
    knows it more exactly than the Job notes it."""

    @property
    def ids(self) -> frozenset[str]:
        """What the build can be asked for by: its Job's name and its correlation ID."""
        return frozenset((self.job_name, self.correlation_id))

    @property
    def event_bytes(self) -> int:
        """About how much memory its event takes, with what was read out of it for the Job."""
        args = sum(_bytes_of(k) + _bytes_of(v) for k, v in self.build_args.items())
        return len(self.event) + args

    @property
    def id_bytes(self) -> int:
        """About how much memory its other texts take."""
        texts = [text for text in _texts(self) if text]
        joined = "".join(texts)
        return len(joined) if joined.isascii() else sum(map(_bytes_of, texts))

    def without_event(self) -> BuildRequest:
        """Return the build without what only making its Job needs.

        What it shares with many others is the same text, for these are kept by the thousand.
        """
        return replace(
            self,
            event=b"",
            build_args=_NO_ARGS,
            event_source=sys.intern(self.event_source),
            event_type=sys.intern(self.event_type),
            third_party_id=sys.intern(self.third_party_id),
            parser_id=sys.intern(self.parser_id),
        )

    def log_fields(self) -> dict[str, str]:
        """Return what every log line about the build has."""
        known = {name: getattr(self, name) for name in _LOGGED}
        if self.traceparent:
            known["trace_id"] = self.traceparent.split("-")[1]
        return known

    def to_json(self, *, with_event: bool = True) -> str:
        """Serialise for the journal, or for the Job, which gets no event."""
        # Four times as fast as ``asdict``, whose copies go down to each string.
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        fields["build_args"] = dict(self.build_args)
        fields["event"] = self.event.decode("utf-8", "surrogatepass") if with_event else ""
        return dump_text(fields)

    def as_event(self) -> dict[str, Any]:
        """Make an event, in structured form, of a build that is only known from its Job."""
        data = {name: getattr(self, name) for name in _IN_DATA}
        return {
            "specversion": "1.0",
            "id": self.event_id,
            "source": self.event_source,
            "type": self.event_type,
            "datacontenttype": "application/json",
            "data": {name: value for name, value in data.items() if value},
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> BuildRequest:
        """Undo ``to_json``; unknown fields of an older or newer writer are ignored.

        Raises ``ValueError``, ``TypeError`` or ``KeyError`` for a text that is not of its making.
        """
        known = {name: value for name, value in json.loads(text).items() if name in cls.__slots__}
        event = known.get("event", "").encode("utf-8", "surrogatepass")
        return cls(**{**known, "priority": Priority(known["priority"]), "event": event})

    @classmethod
    def of_job(cls, job_name: str, event_hash: str, noted: Mapping[str, Any]) -> BuildRequest:
        """Return the build of a Job, with the fields marked ``JOB`` as far as they are ``noted``.

        Texts that are not are empty.
        """
        return cls(job_name=job_name, event_hash=event_hash, **{**_NOTHING_NOTED, **noted})


def fields_marked(mark: Mark) -> tuple[str, ...]:
    """Return the names of a ``BuildRequest``'s fields that have this mark, in their order."""
    hints = get_type_hints(BuildRequest, include_extras=True)
    return tuple(name for name, hint in hints.items() if mark in getattr(hint, "__metadata__", ()))


_LOGGED, _IN_DATA = fields_marked(Mark.LOG), fields_marked(Mark.DATA)
_texts = attrgetter(
    *(
        each.name
        for each in fields(BuildRequest)
        if each.name not in ("event", "build_args", "accepted_at")
    )
)
_NOTHING_NOTED = {
    each.name: ""
    for each in fields(BuildRequest)
    if each.default is MISSING and each.name in fields_marked(Mark.JOB)
}


class Action(StrEnum):
    """What a command event asks for."""

    CANCEL = "cancel"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """One accepted cancel or retry event; its target is named in at least one of three ways."""

    action: Action = Action.CANCEL
    event_id: str
    event_source: str
    event_type: str
    correlation_id: str
    """The command's own, not that of the builds it means."""
    target_correlation_id: str | None = None
    job_name: str | None = None
    third_party_id: str | None = None
    """Together with ``parser_id``."""
    parser_id: str | None = None
    accepted_at: float = 0.0
    """Epoch seconds."""
    tenants: Sequence[str] | None = None
    """Patterns of those whose builds it can mean, for whoever may not send events of all."""
    identity: str = ""
    """Who sent it, and from where, for the audit."""
    address: str = ""

    @property
    def event_hash(self) -> str:
        """Identity of the event: hex SHA-256 of its source and id."""
        return netstring_digest(self.event_source, self.event_id)

    def to_json(self) -> str:
        """Serialise for the journal."""
        return dump_text(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> CommandRequest:
        """Undo ``to_json``; unknown fields are ignored.

        Raises ``ValueError`` or ``TypeError`` for a text that is not of its making.
        """
        known = {name: value for name, value in json.loads(text).items() if name in cls.__slots__}
        return cls(**{**known, "action": Action(known.get("action", Action.CANCEL))})


@dataclass(frozen=True, slots=True)
class BuildError:
    """Why a build has no Job, or why its Job failed."""

    code: str
    message: str
    category: FailureCategory | None = None
    """Of what went wrong with a Job, as far as that was found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What is known of one build now; a change makes a copy. Times are seconds since the epoch."""

    request: BuildRequest
    state: BuildState
    attempts: int = 0
    error: BuildError | None = None
    job_uid: str | None = None
    namespace: str | None = None
    image: str | None = None
    image_digest: str | None = None
    """Of the image that was pushed, ``sha256:…``, where the Job says it."""
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def skipped(self) -> bool:
        """Whether its event was answered with the active Job of another of the same target."""
        return self.error is not None and self.error.code == SKIPPED

    def but(self, **changes: Any) -> BuildResult:
        """Return a copy with ``changes``."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the build as ``GET /async-jobs/{id}`` shows it; absent values are ``None``.

        Kubernetes gives whole seconds by a clock of its own, so none is shown before
        an earlier step's.
        """
        request = self.request
        error = self.error
        accepted_at, created_at, started_at, finished_at = map(rfc3339, self._times())
        return {
            "job_name": request.job_name,
            "correlation_id": request.correlation_id,
            "state": self.state.value,
            "job_uid": self.job_uid,
            "namespace": self.namespace,
            "attempts": self.attempts,
            "error": error and {"code": error.code, "message": error.message},
            "failure_category": error and error.category,
            "event": {
                "id": request.event_id,
                "source": request.event_source,
                "type": request.event_type,
            },
            "third_party_id": request.third_party_id,
            "parser_id": request.parser_id,
            "priority": request.priority.value,
            "image": self.image,
            "image_digest": self.image_digest,
            "accepted_at": accepted_at,
            "created_at": created_at,
            "started_at": started_at,
            "finished_at": finished_at,
        }

    def durations(self) -> dict[str, float | None]:
        """Return the seconds of each step, by the times that ``to_dict`` shows; None: not known."""
        accepted_at, created_at, started_at, finished_at = self._times()
        return {
            "waiting_seconds": _between(accepted_at, created_at),
            "starting_seconds": _between(created_at, started_at),
            "running_seconds": _between(started_at, finished_at),
            "total_seconds": _between(accepted_at, finished_at),
        }

    def _times(self) -> tuple[float | None, ...]:
        request = self.request
        return tuple(
            _in_order((request.accepted_at, self.created_at, self.started_at, self.finished_at))
        )


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(end - begin, 3)


def _in_order(moments: Iterable[float | None]) -> Iterator[float | None]:
    latest = 0.0
    for moment in moments:
        latest = max(latest, moment or 0.0)
        yield latest if moment else None


def rfc3339(seconds: float | None) -> str | None:
    """Format seconds since the epoch as RFC 3339 in UTC, with milliseconds."""
    if not seconds:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(value: Any) -> float | None:
    """Return RFC 3339 text as seconds since the epoch; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
