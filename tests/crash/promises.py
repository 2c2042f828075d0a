"""What must be in a journal, by what its clients had asked for and been told.

Each build is as it was after some of what was asked for, in that order, and no less than what was
acknowledged. Attempts and outcomes are acknowledged to nobody, so they may be missing from the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambda_builder.builds import BuildState
from lambda_builder.journal import SqliteJournal
from tests.journals import make_request

_QUEUED = BuildState.QUEUED.value
_ENDED = [state.value for state in BuildState if not state.waits]
_ON_DISK = ("record", "reopen", "put")
"""What is on the disk when it is done."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a journal holds of a build."""

    state: str | None = None
    """None: no such build."""
    attempts: int = 0
    messages: frozenset[str] = frozenset()

    def after(self, operation: str, *arguments: Any) -> Kept:
        """Return what it becomes."""
        state, attempts, messages = self.state, self.attempts, self.messages
        match operation, arguments:
            case "record", _ if state != _QUEUED:
                state, attempts = _QUEUED, 0
            case "reopen", _:
                state, attempts = _QUEUED, 0
            case "attempt", (number,) if state == _QUEUED:
                attempts = number
            case "finish", (state, attempts, ids):
                messages |= set(ids)
            case "forget", _ if state == _QUEUED:
                state, attempts = None, 0
            case "put", (ids,):
                messages |= set(ids)
            case "delivered", (message_id,):
                messages -= {message_id}
        return Kept(state, attempts, messages)

    @property
    def trimmed(self) -> Kept:
        """What is left once the build is forgotten."""
        return self if self.state == _QUEUED else Kept(messages=self.messages)


@dataclass(slots=True)
class _Build:
    now: set[Kept] = field(default_factory=lambda: {Kept()})
    """As it is if all that was asked for is carried out; several where a refusal left it open."""
    allowed: set[Kept] = field(default_factory=lambda: {Kept()})
    """As it may be on the disk."""
    asked_at: int | None = None
    acknowledged_at: int | None = None
    moved: bool = False
    """Whether its place in the order may have changed."""


class Promises:
    """Follows what a load said; then judges what a journal holds."""

    def __init__(self) -> None:
        self._builds: dict[str, _Build] = {}
        self._under_way: dict[int, list[Any]] = {}
        self._batches: list[list[str]] = []
        self._moment = 0
        self._trims = False

    def follow(self, words: Sequence[Any]) -> None:
        """Take in one line."""
        self._moment += 1
        match words:
            case ["trimming"]:
                self._trims = True
            case ["done", thread]:
                self._answered(self._under_way.pop(thread), done=True)
            case ["refused", thread]:
                self._answered(self._under_way.pop(thread), done=False)
            case ["boot_refused", _]:
                pass
            case [operation, what, *arguments, thread]:
                self._asked(operation, _hashes(what), arguments)
                if operation in ("record", "attempt", "reopen", "put"):
                    self._under_way[thread] = [operation, _hashes(what), arguments]

    def _asked(self, operation: str, hashes: list[str], arguments: list[Any]) -> None:
        if len(hashes) > 1:
            self._batches.append(hashes)
        for event_hash in hashes:
            build = self._builds.setdefault(event_hash, _Build())
            if operation in ("record", "reopen"):
                build.moved |= build.asked_at is not None
                build.asked_at = build.asked_at or self._moment
            then = {kept.after(operation, *arguments) for kept in build.now}
            build.allowed |= then
            if operation == "delivered":  # frees room, so that on a full disk it goes first
                build.allowed |= {kept.after(operation, *arguments) for kept in build.allowed}
            if operation in ("finish", "forget", "delivered"):
                build.now = then

    def _answered(self, asked: list[Any], *, done: bool) -> None:
        operation, hashes, arguments = asked
        for event_hash in hashes:
            build = self._builds[event_hash]
            then = {kept.after(operation, *arguments) for kept in build.now}
            build.now = then if done else build.now | then
            if done and operation in _ON_DISK:
                build.allowed = set(then)
                build.acknowledged_at = build.acknowledged_at or self._moment

    # -- judging -------------------------------------------------------------------------------

    def faults(self, journal: SqliteJournal) -> Iterator[str]:
        """Say what is wrong with what is in ``journal``."""
        yield from self.broken(*read(journal))

    def broken(self, found: dict[str, Kept], open_hashes: Sequence[str]) -> Iterator[str]:
        """Say what is missing, or there without reason, or in the wrong order."""
        for event_hash, build in self._builds.items():
            kept = found.get(event_hash, Kept())
            allowed = build.allowed
            if self._trims:
                allowed = allowed | {past.trimmed for past in allowed}
            if kept not in allowed:
                yield f"{event_hash} is {kept}, not one of {allowed}"
        for event_hash in found.keys() - self._builds.keys():
            yield f"nobody asked for {event_hash}"
        if len(set(open_hashes)) != len(open_hashes):
            yield "a build is there twice"
        yield from self._halves(found)
        yield from self._out_of_order(open_hashes)

    def _halves(self, found: dict[str, Kept]) -> Iterator[str]:
        under_way = [hashes for operation, hashes, _ in self._under_way.values()]
        for batch in self._batches:
            if batch in under_way and 0 < len(found.keys() & set(batch)) < len(batch):
                yield f"of the batch {batch} only a part is there"

    def _out_of_order(self, open_hashes: Sequence[str]) -> Iterator[str]:
        """One that was acknowledged before the other was sent comes before it."""
        latest = 0
        for event_hash in open_hashes:
            build = self._builds.get(event_hash)
            if build is None or build.moved:
                continue
            if build.acknowledged_at is not None and build.acknowledged_at < latest:
                yield f"{event_hash} is behind one that was sent after it was acknowledged"
            assert build.asked_at is not None
            latest = max(latest, build.asked_at)


def read(journal: SqliteJournal) -> tuple[dict[str, Kept], list[str]]:
    """Return what is kept, by event hash, and the hashes of open builds in their order."""
    messages: dict[str, set[str]] = {}
    for key, message_id in journal._database.fetch("SELECT key, id FROM outbox"):
        messages.setdefault(key, set()).add(message_id)
    builds: dict[str, tuple[str, int]] = {}
    order = []
    for build in journal.open_builds(after_seq=0, limit=1_000_000, up_to_seq=1 << 62):
        order.append(build.request.event_hash)
        builds[order[-1]] = (_QUEUED, build.attempts)
    for result in journal.finished(states=_ENDED, limit=1_000_000):
        builds[result.request.event_hash] = (result.state.value, result.attempts)
    found = {}
    for event_hash in builds.keys() | messages.keys():
        state, attempts = builds.get(event_hash, (None, 0))
        found[event_hash] = Kept(state, attempts, frozenset(messages.get(event_hash, ())))
    return found, order


def _hashes(what: int | list[int]) -> list[str]:
    numbers = what if isinstance(what, list) else [what]
    return [make_request(number).event_hash for number in numbers]
