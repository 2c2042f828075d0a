"""ChangeFeed: the last changes of builds, numbered, for whoever follows them."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice

from lambda_builder.builds import BuildResult
from lambda_builder.jsontext import dump_ascii

_GATHER_SECONDS = 0.1
"""What happens within it is told together."""
_KEPT = 4096
"""Changes that are kept: of a follower that is gone for longer than they reach nothing is told but
that it has to begin anew. They hold no build, only a few short texts that its result has anyway."""

Change = tuple[int, str]
"""The number, from 1, and JSON."""


class ChangeFeed:
    """Remembers changes; thread-safe, and next to free where nobody follows."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        """Tells the numbers of this process from those of another."""
        self._noted = threading.Condition()
        self._kept: deque[tuple[str | None, ...]] = deque(maxlen=_KEPT)
        self._number = 0
        self._waiting = 0
        self._gathered = threading.Event()
        """Never set: what others are told of must not end the gathering."""

    @property
    def number(self) -> int:
        """Of the last change; 0 before the first."""
        return self._number

    def note(self, result: BuildResult) -> None:
        """Note the present state of a build; to be called in the order of its states."""
        request, error = result.request, result.error
        change = (
            request.job_name,
            result.state.value,
            request.correlation_id,
            request.third_party_id,
            request.parser_id,
            error.category if error else None,
        )
        with self._noted:
            self._kept.append(change)
            self._number += 1
            if self._waiting:
                self._noted.notify_all()

    def after(self, number: int, timeout: float) -> Sequence[Change] | None:
        """Return the changes after that one, which may take ``timeout`` seconds to come.

        None where they are not known any more, or never were.
        """
        if self._are_any(number, timeout):
            self._gathered.wait(min(timeout, _GATHER_SECONDS))
        with self._noted:
            missing, first = self._number - number, len(self._kept) - (self._number - number)
            if missing < 0 or first < 0:
                return None
            kept = [*islice(self._kept, first, None)]
        return [(number + place, _text(change)) for place, change in enumerate(kept, 1)]

    def _are_any(self, number: int, timeout: float) -> bool:
        """Whether there are changes after that one, within ``timeout`` seconds."""
        with self._noted:
            if self._number == number:
                self._waiting += 1
                self._noted.wait(timeout)
                self._waiting -= 1
            return self._number > number


def _text(change: tuple[str | None, ...]) -> str:
    names = ("job_name", "state", "correlation_id", "third_party_id", "parser_id")
    return dump_ascii(dict(zip((*names, "failure_category"), change, strict=True)))
