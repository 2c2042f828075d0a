"""Ended builds as plain tuples with one text each: a hundred thousand take two thirds of the room.

Python's garbage collector does not look at them either. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
    Priority,
    digest_bytes,
)
from lambda_builder.selection import SEPARATOR, Place, place_of, searched

Key = str | bytes
Packed = tuple[Any, ...]
Kept = BuildResult | Packed
"""A build as it is kept: as it is, or packed."""

_KEY, _NAME, _CORRELATION, _TEXTS, _COMMON, _, _ACCEPTED, _CREATED = range(8)
_STATE, _ERROR = range(2)
_DIGEST_BYTES = 16
_texts = attrgetter("third_party_id", "parser_id", "event_id", "event_source")
_seldom = attrgetter("runtime", "context_url", "image", "content_hash")
_times = attrgetter("created_at", "started_at", "finished_at")


def key_of(event_hash: str) -> Key:
    """Return what a build is known by: its event's hash as bytes, which take half the room.

    The text itself where it is no hash in hex.
    """
    try:
        key = bytes.fromhex(event_hash)
    except ValueError:
        return event_hash
    return key if key.hex() == event_hash else event_hash


def key_digest(key: Key) -> bytes:
    """Return ``digest_bytes`` of the hash."""
    return key[:_DIGEST_BYTES] if isinstance(key, bytes) else digest_bytes(key)


def pack(key: Key, result: BuildResult) -> Kept:
    """Return what ``unpack`` makes an equal result of; itself where it still has its event.

    ``key`` is the build's.
    """
    request, error = result.request, result.error
    optional = (request.traceparent, result.job_uid, result.image)
    texts = (*_texts(request), *(text or "" for text in optional))
    text = SEPARATOR.join(texts)
    if request.event or request.build_args or "" in optional:
        return result
    if text.count(SEPARATOR) >= len(texts):
        return result
    return (
        key,
        request.job_name,
        request.correlation_id,
        text,
        _shared(
            result.state.value,
            error and (error.code, error.message, error.category and error.category.value),
            request.priority.value,
            result.attempts,
            request.event_type,
            result.namespace,
            *_seldom(request),
        ),
        result.image_digest,
        request.accepted_at,
        *_times(result),
    )


@lru_cache(maxsize=1024)
def _shared(*common: Any) -> tuple[Any, ...]:
    """Return what many builds have alike as one tuple for all of them."""
    return common


def unpack(kept: Kept) -> BuildResult:
    """Undo ``pack``."""
    if isinstance(kept, BuildResult):
        return kept
    key, name, correlation, text, common, digest, *times = kept
    third_party, parser, event_id, source, traceparent, uid, image = text.split(SEPARATOR)
    state, error, priority, attempts, kind, namespace, *seldom = common
    accepted_at, created_at, started_at, finished_at = times
    runtime, context_url, wanted_image, content_hash = seldom
    request = BuildRequest(
        event_id=event_id,
        event_source=source,
        event_type=kind,
        parser_id=parser,
        third_party_id=third_party,
        correlation_id=correlation,
        event_hash=key.hex() if isinstance(key, bytes) else key,
        job_name=name,
        priority=Priority(priority),
        runtime=runtime,
        context_url=context_url,
        image=wanted_image,
        content_hash=content_hash,
        traceparent=traceparent or None,
        accepted_at=accepted_at,
    )
    return BuildResult(
        request=request,
        state=BuildState(state),
        attempts=attempts,
        error=error and BuildError(error[0], error[1], error[2] and FailureCategory(error[2])),
        job_uid=uid or None,
        namespace=namespace,
        image=image or None,
        image_digest=digest,
        created_at=created_at,
        started_at=started_at,
        finished_at=finished_at,
    )


def place_of_kept(kept: Kept) -> Place:
    """Return what a build is listed by."""
    if isinstance(kept, BuildResult):
        return place_of(kept)
    return kept[_ACCEPTED] or kept[_CREATED] or 0.0, kept[_NAME], key_digest(kept[_KEY])


def state_of(kept: Kept) -> str:
    """Return a build's state."""
    return kept.state if isinstance(kept, BuildResult) else kept[_COMMON][_STATE]


def category_of(kept: Kept) -> str | None:
    """Return why it failed."""
    if isinstance(kept, BuildResult):
        return kept.error.category if kept.error else None
    error = kept[_COMMON][_ERROR]
    category: str | None = error[2] if error else None
    return category


def searched_of(kept: Kept) -> str:
    """Return all that ``q`` is looked for in, in lower case."""
    if isinstance(kept, BuildResult):
        return searched((kept,))
    error = kept[_COMMON][_ERROR] or ("", "")
    texts = ("", kept[_NAME], kept[_CORRELATION], kept[_TEXTS], error[0], error[1], "")
    return SEPARATOR.join(texts).lower()


def searched_together(all_kept: Iterable[Kept]) -> str:
    """Return all that ``q`` is looked for in, of all of them together."""
    return SEPARATOR.join(map(searched_of, all_kept))
