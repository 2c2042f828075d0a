"""What must be in a journal, by what the service answered to those who asked over HTTP.

What the service does by itself, as trying and finishing builds, is told to nobody. So of a build
that was answered with 200 it is known only that it is there, waiting or with an outcome; of one
that was seen to have ended, that the oldest beyond ``keep_max`` may be forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from lambda_builder.builds import BuildState, netstring_digest
from lambda_builder.journal import SqliteJournal
from tests.crash.promises import Kept, read

SOURCE = "network.notifi.customer"
KEEP_MAX = 40
HASH_DIGITS = 10
"""How much of an event's identity is in the name of its Job."""


def event_hash(number: int) -> str:
    """Return the identity of event ``number``."""
    return netstring_digest(SOURCE, str(number))


class Answers:
    """Follows what was asked and answered; then judges what a journal holds."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[str, list[int]]] = {}
        """What is under way, by number of the request."""
        self._sent_at: dict[int, int] = {}
        self._accepted_at: dict[int, int] = {}
        self._done: dict[str, set[int]] = defaultdict(set)
        self._retried: set[int] = set()
        self._ended: set[int] = set()
        self._moment = 0

    def follow(self, words: Sequence[Any]) -> None:
        """Take in one note."""
        self._moment += 1
        match words:
            case ["asked", request, operation, numbers]:
                self._asked[request] = (operation, numbers)
                if operation == "retry":
                    self._retried.update(numbers)
                for number in numbers:
                    self._sent_at.setdefault(number, self._moment)
            case ["answered", request, status]:
                operation, numbers = self._asked.pop(request)
                if status == 200:
                    self._done[operation].update(numbers)
                    if operation == "event":
                        self._accepted_at.update(dict.fromkeys(numbers, self._moment))
            case ["ended", numbers]:
                self._ended.update(numbers)

    def faults(self, journal: SqliteJournal) -> Iterator[str]:
        """Say what is wrong with what is in ``journal``."""
        found, waiting = read(journal)
        cancels = {kept.job_name or "" for kept in journal.commands()}
        yield from self.broken(found, waiting, cancels)

    def broken(
        self, found: dict[str, Kept], waiting: list[str], cancels: Collection[str] = ()
    ) -> Iterator[str]:
        """Say what is missing, or there without reason, or in the wrong order.

        ``waiting`` are the builds that wait, in their order, ``cancels`` the Jobs that kept cancels
        mean.
        """
        there = {key for key, kept in found.items() if kept.state is not None}
        yield from self._lost(found, there)
        yield from self._undone(found, waiting, {name[-HASH_DIGITS:] for name in cancels})
        yield from self._halves(there)
        yield from self._out_of_order(waiting)

    def _lost(self, found: dict[str, Kept], there: set[str]) -> Iterator[str]:
        for number in self._done["event"] - self._ended:
            if event_hash(number) not in there:
                yield f"event {number} was accepted and is not there"
        if len(there) < min(KEEP_MAX, len(self._ended)):
            yield f"only {len(there)} builds are there, {len(self._ended)} have ended"
        if unknown := there - {event_hash(number) for number in self._sent_at}:
            yield f"nobody asked for {unknown}"
        for key, kept in found.items():
            if kept.state == BuildState.DEAD and f"dead_letter-{key}" not in kept.messages:
                yield f"{key} is dead, and its letter is not there"

    def _undone(
        self, found: dict[str, Kept], waiting: list[str], cancels: set[str]
    ) -> Iterator[str]:
        for number in self._done["cancel"]:
            if event_hash(number) in waiting and event_hash(number)[:HASH_DIGITS] not in cancels:
                yield f"the cancel of {number} was accepted and is forgotten"
        for number in self._done["delete"]:
            if event_hash(number) in waiting:
                yield f"event {number} was cancelled and waits"
        for number in self._done["retry"]:
            kept = found.get(event_hash(number))
            if kept is not None and kept.state == BuildState.DEAD:
                yield f"the retry of {number} was accepted and is forgotten"

    def _halves(self, there: set[str]) -> Iterator[str]:
        for operation, numbers in self._asked.values():
            batch = {event_hash(number) for number in numbers}
            if operation == "event" and 0 < len(there & batch) < len(batch):
                yield f"of the batch {numbers} only a part is there"

    def _out_of_order(self, waiting: list[str]) -> Iterator[str]:
        """One that was accepted before the other was sent comes before it."""
        if len(set(waiting)) != len(waiting):
            yield "a build is there twice"
        numbers = {event_hash(number): number for number in self._sent_at}
        latest = 0
        for number in (numbers[key] for key in waiting if key in numbers):
            if number in self._retried:
                continue
            if self._accepted_at.get(number, latest) < latest:
                yield f"event {number} is behind one that was sent after it was accepted"
            latest = max(latest, self._sent_at[number])
