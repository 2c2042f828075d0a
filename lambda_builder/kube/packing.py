"""Records of Jobs as plain tuples, which Python's garbage collector does not look at.

Tens of thousands of objects would make each full collection longer, and with it some unlucky
request.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import Any

from lambda_builder.builds import BuildError, BuildState, FailureCategory
from lambda_builder.kube.record import JobRecord
from lambda_builder.selection import SEPARATOR

Packed = tuple[Any, ...]

_values = attrgetter("placed_at", *JobRecord.__slots__)
_AT = {name: number for number, name in enumerate(JobRecord.__slots__, 1)}
PLACED_AT = 0
NAME, EVENT_HASH, UID = _AT["name"], _AT["event_hash"], _AT["uid"]
STATE, ERROR, TEXTS = _AT["state"], _AT["error"], _AT["texts"]
LOWER_TEXTS = -1
"""Like ``TEXTS``, where the Job's name and uid follow what it notes: all of it is searched."""
place_of_packed = itemgetter(PLACED_AT, NAME, EVENT_HASH)
"""What the build of a Job is listed by."""
_PLAIN = {value: str.__str__(value) for value in (*BuildState, *FailureCategory)}
"""The states and categories as strings that are not members of an enumeration."""


def pack(record: JobRecord) -> Packed:
    """Return what ``unpack`` makes the record of again."""
    error = record.error
    texts = SEPARATOR.join((record.texts, record.name, record.uid))
    lower = texts.lower()
    # Most texts are in lower case already, and take no room a second time.
    values = [*_values(record), texts if lower == texts else lower]
    values[TEXTS] = texts
    values[STATE] = _PLAIN[record.state]
    values[ERROR] = error and (error.code, error.message, error.category and _PLAIN[error.category])
    return tuple(values)


def unpack(packed: Packed) -> JobRecord:
    """Undo ``pack``."""
    values = [*packed]
    values[TEXTS], *_ = packed[TEXTS].rsplit(SEPARATOR, 2)
    values[STATE] = BuildState(packed[STATE])
    error = packed[ERROR]
    values[ERROR] = error and BuildError(error[0], error[1], error[2] and FailureCategory(error[2]))
    return JobRecord(*values[1:-1])
