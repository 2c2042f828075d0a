"""What a route asks of whoever calls it. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ANONYMOUS = "anonymous"
"""The identity of whoever shows nothing."""


class Action(StrEnum):
    """What policies allow."""

    SEND = "send"
    """Start, cancel and retry events."""
    READ = "read"
    STEER = "steer"
    """Cancel and retry by the API or the page."""
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Rule:
    """What has to be allowed for a route to be called at all.

    Of which tenants' builds an answer then tells is up to the tenants that the caller may act on.
    """

    action: Action | None
    """None: nothing."""
    of_all: bool = False
    """Whether it has to be allowed for every tenant."""


OPEN = Rule(None)
SEND = Rule(Action.SEND)
READ = Rule(Action.READ)
READ_ALL = Rule(Action.READ, of_all=True)
STEER = Rule(Action.STEER)
METRICS = Rule(Action.METRICS)
