"""Builds as plain values: what was asked for, what became of it, and how its Job is named.

Knows no I/O and no threads; every value is frozen and may be shared between threads.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

_NAME_BUDGET = 45
"""Characters that both ids share in a Job name: 63 less ``build-``, two dashes and 10 digits."""
_NAME_SHARE = 22
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One accepted event, as far as building needs it; enough to build without the sender."""

    event_id: str
    event_source: str
    event_type: str
    parser_id: str
    third_party_id: str
    correlation_id: str
    event_hash: str
    """Identity of the event: hex SHA-256 of its source and id."""
    job_name: str
    priority: Priority = Priority.NORMAL
    runtime: str | None = None
    context_url: str | None = None
    image: str | None = None
    content_hash: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    event: str = ""
    """The CloudEvent as it came, as structured-mode JSON."""
    traceparent: str | None = None
    accepted_at: float = 0.0
    """Seconds since the epoch."""

    def to_json(self) -> str:
        """Serialise for the journal."""
        # Four times as fast as ``asdict``, whose copies go down to each string.
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        fields["build_args"] = dict(self.build_args)
        return _ENCODER.encode(fields)

    def as_event(self) -> dict[str, Any]:
        """Make an event, in structured form, of a build that is only known from its Job."""
        data = {
            "parser_id": self.parser_id,
            "third_party_id": self.third_party_id,
            "priority": self.priority.value,
            "runtime": self.runtime,
            "context_url": self.context_url,
            "image": self.image,
            "content_hash": self.content_hash,
            "build_args": dict(self.build_args),
        }
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
        return cls(**{**known, "priority": Priority(known["priority"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """One accepted cancel event; its target is named in at least one of three ways."""

    event_id: str
    event_source: str
    event_type: str
    correlation_id: str
    """The cancel event's own, not that of the builds it means."""
    target_correlation_id: str | None = None
    job_name: str | None = None
    third_party_id: str | None = None
    """Together with ``parser_id``."""
    parser_id: str | None = None


@dataclass(frozen=True, slots=True)
class BuildError:
    """Why a build has no Job, or why its Job failed."""

    code: str
    message: str


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
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None

    def but(self, **changes: Any) -> BuildResult:
        """Return a copy with ``changes``."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the build as ``GET /async-jobs/{id}`` shows it; absent values are ``None``."""
        request = self.request
        return {
            "job_name": request.job_name,
            "correlation_id": request.correlation_id,
            "state": self.state.value,
            "job_uid": self.job_uid,
            "namespace": self.namespace,
            "attempts": self.attempts,
            "error": None if self.error is None else asdict(self.error),
            "event": {
                "id": request.event_id,
                "source": request.event_source,
                "type": request.event_type,
            },
            "third_party_id": request.third_party_id,
            "parser_id": request.parser_id,
            "priority": request.priority.value,
            "image": self.image,
            "accepted_at": rfc3339(request.accepted_at),
            "created_at": rfc3339(self.created_at),
            "started_at": rfc3339(self.started_at),
            "finished_at": rfc3339(self.finished_at),
        }


def rfc3339(seconds: float | None) -> str | None:
    """Format seconds since the epoch as RFC 3339 in UTC, with milliseconds."""
    if not seconds:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
