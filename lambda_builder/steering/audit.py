"""Audit: who cancelled and retried what, and who tried; kept by the journal, told in the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from itertools import islice
from typing import Any, Literal

import structlog

from lambda_builder.builds import Action, BuildResult, CommandRequest, rfc3339
from lambda_builder.errors import FieldProblem, RefusalCode, Refused
from lambda_builder.journal import Journal
from lambda_builder.jsontext import dump_ascii
from lambda_builder.problems import KINDS
from lambda_builder.tenants import Tenants

DONE = "done"
Via = Literal["api", "bulk", "event"]
"""How it was asked for: of one build, of many at once, or by a cancel or retry event."""
_TEXT = 253
"""Characters of what somebody named: as long as an ID can be."""
_EVENT_ID = 1024
_READ_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for something, and from where."""

    identity: str
    address: str


@dataclass(frozen=True, slots=True)
class Target:
    """What is meant: a build, or more; of whose builds it is shown to whom."""

    via: Via
    build: str | None = None
    """A Job's name, or the ID that was named where no build was found."""
    third_party_id: str | None = None
    """None where it is not known, or there are several: shown to who may read all of them."""
    parser_id: str | None = None
    event_id: str | None = None
    """Of the cancel or retry event that asked for it."""
    filter: Mapping[str, str] | None = None
    """Of many builds at once."""
    matched: int | None = None
    done: int | None = None

    @classmethod
    def of(cls, build: BuildResult, via: Via, event_id: str | None = None) -> Target:
        """Return one build as what is meant."""
        request = build.request
        return cls(via, request.job_name, request.third_party_id, request.parser_id, event_id)

    def but(self, **changes: Any) -> Target:
        """Return a copy with ``changes``."""
        return replace(self, **changes)

    @classmethod
    def named_by(cls, command: CommandRequest) -> Target:
        """Return what an event means, as far as it says so."""
        build = command.job_name or command.target_correlation_id
        return cls("event", build, command.third_party_id, command.parser_id, command.event_id)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, newest first, and where the next page begins."""

    items: Sequence[Mapping[str, Any]]
    next_cursor: str | None


class Audit:
    """Notes what was steered; thread-safe."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float] = time.time) -> None:
        """``clock`` is in seconds since the epoch."""
        self._journal = journal
        self._clock = clock

    def done(self, by: Actor, action: Action, targets: Sequence[Target]) -> None:
        """Note what was done; waits a second at most, and raises nothing."""
        self._note(by, action, targets, DONE, refused=False)

    def failed(
        self, by: Actor, action: Action, targets: Sequence[Target], code: RefusalCode
    ) -> None:
        """Note what was not done, or not yet; waits a second at most, and raises nothing."""
        # What the service could not do is no guess, and a part of it may be done.
        refused = KINDS[code].status < HTTPStatus.INTERNAL_SERVER_ERROR
        self._note(by, action, targets, code.value, refused=refused)

    def page(
        self,
        tenants: Tenants,
        *,
        limit: int,
        cursor: str | None,
        third_party_id: str | None = None,
    ) -> AuditPage:
        """Return entries about builds of these tenants, or of one of them, newest first.

        Raises ``Refused``: ``invalid_parameter`` for a cursor of another making, and
        ``journal_unavailable``.
        """
        before = None if cursor is None else _number(cursor)
        found = [*islice(self._found(tenants, third_party_id, before), limit + 1)]
        next_cursor = str(found[limit - 1][0]) if len(found) > limit else None
        return AuditPage([entry for _, entry in found[:limit]], next_cursor)

    def _found(
        self, tenants: Tenants, third_party_id: str | None, before: int | None
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        while rows := self._journal.audit(before=before, limit=_READ_AT_ONCE):
            for number, text in rows:
                entry = _entry(text)
                if entry is None or not _may_see(entry, tenants):
                    continue
                if third_party_id in (None, entry.get("third_party_id")):
                    yield number, entry
            before = rows[-1][0]

    def _note(
        self, by: Actor, action: Action, targets: Sequence[Target], outcome: str, *, refused: bool
    ) -> None:
        at, entries = rfc3339(self._clock()), []
        who = {"identity": by.identity, "address": by.address, "action": action.value}
        for target in targets:
            fields = {**who, **_bounded(target), "outcome": outcome}
            said = {name: value for name, value in fields.items() if value is not None}
            structlog.get_logger().info("steered", **said)
            entries.append(dump_ascii({"time": at, **fields}).encode("ascii"))
        self._journal.note(entries, refused=refused)


def _may_see(entry: Mapping[str, Any], tenants: Tenants) -> bool:
    tenant = entry.get("third_party_id")
    return tenants.are_all or (tenant is not None and tenant in tenants)


def _bounded(target: Target) -> dict[str, Any]:
    """Return the fields, none of them longer than what is right."""
    most = {"event_id": _EVENT_ID}
    return {
        name: value[: most.get(name, _TEXT)] if isinstance(value, str) else value
        for name, value in asdict(target).items()
    }


def _entry(text: bytes) -> dict[str, Any] | None:
    """Read an entry; None for what damage left of one."""
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _number(cursor: str) -> int:
    if cursor.isascii() and cursor.isdigit() and len(cursor) <= 18:
        return int(cursor)
    message = "take it from next_cursor, unchanged"
    raise Refused(
        RefusalCode.INVALID_PARAMETER,
        f"cursor: {message}",
        errors=[FieldProblem("cursor", message)],
    )
