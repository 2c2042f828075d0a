"""JobRecord: what is kept of a Job in memory, a few hundred bytes of the API's several thousand.

Pure values; a change makes a new record, so that any thread may hold one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    Mark,
    Priority,
    digest_bytes,
    fields_marked,
    netstring_digest,
    parse_time,
)
from lambda_builder.kube.labels import ANNOUNCED, IMAGE_DIGEST
from lambda_builder.kube.status import (
    SUSPENDED,
    Job,
    event_hash_of,
    image_digest,
    noted_fields,
    outcome,
    started,
)
from lambda_builder.selection import SEPARATOR

_OF_MANY_BUILDS = ("event_type", "priority", "accepted_at")
TEXTS = tuple(name for name in fields_marked(Mark.JOB) if name not in _OF_MANY_BUILDS)
"""What ``JobRecord.texts`` has, in its order."""
_TRACEPARENT = TEXTS.index("traceparent")
FINISHED = frozenset({BuildState.SUCCEEDED, BuildState.FAILED})
_CANCELLED = {BuildState.CANCELLED: BuildError("cancelled", "its Job was deleted")}


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One Job of ours as last seen. Times are seconds since the epoch, by the API's clock."""

    name: str
    event_hash: bytes
    """The first 16 bytes of the event's digest; empty where the label is none."""
    uid: str
    target: bytes
    """Digest of third party and parser, see ``target_key``."""
    correlation: bytes
    """Digest of the correlation ID, see ``correlation_key``."""
    state: BuildState
    error: BuildError | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    image_digest: str | None = None
    announced: str | None = None
    """The last piece of news about the Job that is known to have been delivered."""
    namespace: str | None = None
    accepted_at: float = 0.0
    """As the Job notes it; 0 where it does not."""
    event_type: str = ""
    priority: str = Priority.NORMAL.value
    texts: str = ""
    """What else the Job notes of its build: one text takes a third of what a text each would."""

    @property
    def active(self) -> bool:
        """Whether the Job has neither finished nor is being deleted."""
        return not self.state.final

    @property
    def suspended(self) -> bool:
        """Whether the Job is held back on purpose, by Kueue for example."""
        return self.error is not None and self.error.code == SUSPENDED

    @property
    def placed_at(self) -> float:
        """When its build was accepted, by which builds are listed."""
        return self.accepted_at or self.created_at or 0.0

    @property
    def traceparent(self) -> str | None:
        """The trace that its build belongs to; None where it does not say."""
        texts = self.texts.split(SEPARATOR)
        return (texts[_TRACEPARENT] or None) if len(texts) > _TRACEPARENT else None

    def result(self) -> BuildResult:
        """Return the build as its Job tells of it."""
        noted: dict[str, Any] = dict(zip(TEXTS, self.texts.split(SEPARATOR), strict=False))
        noted = {name: text for name, text in noted.items() if text}
        digest = self.event_hash.hex()
        if "event_source" in noted and "event_id" in noted:
            digest = netstring_digest(noted["event_source"], noted["event_id"])
        request = BuildRequest.of_job(
            self.name,
            digest,
            {
                **noted,
                "accepted_at": self.accepted_at,
                "event_type": self.event_type,
                "priority": Priority(self.priority),
            },
        )
        return BuildResult(
            request=request,
            state=self.state,
            error=self.error,
            job_uid=self.uid,
            namespace=self.namespace,
            image=request.image,
            image_digest=self.image_digest,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
        )


def record_of(job: Job, known: JobRecord | None = None) -> JobRecord:
    """Return the record of a Job as the API has it; quicker where an earlier one is ``known``."""
    metadata = job["metadata"]
    state, error, finished_at = outcome(job)
    noted = noted_fields(job)
    texts = SEPARATOR.join([_plain(noted.get(name)) for name in TEXTS])
    if known is not None and known.texts == texts:
        texts, target, correlation = known.texts, known.target, known.correlation
    else:
        target = target_key(noted.get("third_party_id", ""), noted.get("parser_id", ""))
        correlation = correlation_key(noted.get("correlation_id", ""))
    notes = metadata.get("annotations") or {}
    return JobRecord(
        name=metadata["name"],
        uid=metadata["uid"],
        event_hash=digest_bytes(event_hash_of(job)),
        target=target,
        correlation=correlation,
        state=state,
        error=_shared(error),
        created_at=parse_time(metadata.get("creationTimestamp")),
        started_at=started(state, job.get("status") or {}),
        finished_at=finished_at,
        image_digest=image_digest(notes.get(IMAGE_DIGEST)),
        announced=_shared_text(notes.get(ANNOUNCED)),
        namespace=_shared_text(metadata.get("namespace")),
        accepted_at=noted["accepted_at"],
        event_type=_shared_text(noted.get("event_type", "")) or "",
        priority=str.__str__(noted["priority"]),
        texts=texts,
    )


def with_job(result: BuildResult, record: JobRecord, namespace: str | None) -> BuildResult:
    """Return a build as its Job shows it now, or ``result`` itself where the Job changes nothing.

    A build that waits, or was cancelled, has no Job that counts; nor does an older Job than the
    one that is known, or one that seems to run again after its end.
    """
    if result.state.waits or result.state is BuildState.CANCELLED:
        return result
    if result.state is BuildState.DEAD and not record.active and record.state not in FINISHED:
        return result
    is_same = result.job_uid == record.uid
    if is_same:
        if result.state in FINISHED and record.state is not result.state:
            return result
    elif result.job_uid and not _follows(record, result):
        return result
    shown = result.but(
        state=record.state,
        error=_told(record, result.error if is_same else None),
        job_uid=record.uid,
        namespace=result.namespace or namespace,
        image_digest=record.image_digest or (result.image_digest if is_same else None),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
    )
    return result if shown == result else shown


def _told(record: JobRecord, known: BuildError | None) -> BuildError | None:
    """Return the Job's error; what was found out about a failure before is not unlearned."""
    error = record.error or _CANCELLED.get(record.state)
    if error is None or known is None or record.state not in FINISHED:
        return error
    if known.code != error.code or not known.message.startswith(error.message):
        return error
    return BuildError(error.code, known.message, error.category or known.category)


def _follows(record: JobRecord, result: BuildResult) -> bool:
    """Whether a Job was made after the one that a build is known to have.

    By the API's clock, which has whole seconds: of two of the same one, whose name is the same, the
    first has ended by the time the other is made.
    """
    made, known = record.created_at or 0.0, result.created_at or 0.0
    return made > known or (made == known and result.state.final)


def target_key(third_party_id: str, parser_id: str) -> bytes:
    """Return the digest under which the Jobs of a third party and parser are found."""
    return digest_bytes(netstring_digest(third_party_id, parser_id))


def correlation_key(correlation_id: str) -> bytes:
    """Return the digest under which the Jobs of a correlation ID are found."""
    return digest_bytes(netstring_digest(correlation_id))


def _shared(error: BuildError | None) -> BuildError | None:
    # Most Jobs that failed or are held say the same words.
    if error is None:
        return None
    return BuildError(sys.intern(error.code), sys.intern(error.message), error.category)


def _shared_text(text: Any) -> str | None:
    return sys.intern(text) if isinstance(text, str) else None


def _plain(text: str | None) -> str:
    if not text:
        return ""
    return text.replace(SEPARATOR, " ") if SEPARATOR in text else text
