"""Who may do what, for which tenants: callers, and the policies that make them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lambda_builder.access.rules import ANONYMOUS, Action
from lambda_builder.tenants import ALL_TENANTS, ANY, NO_TENANTS, Reach, Tenants

if TYPE_CHECKING:  # who has no file shall not wait for its models at the start
    from lambda_builder.access.auth_file import Policy

Allowed = Mapping[Action, Tenants]
Nonce = tuple[str, str, int]
"""An identity, and what of a signature may be used only once: an id and a time."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, and what it may do."""

    names: tuple[str, ...]
    """Of the identities that match."""
    allowed: Allowed
    unsigned: Allowed
    """What it may do without regard to signatures, which cover no headers."""
    only_signed: bool = False
    """Whether nothing but a signature of the body tells who it is."""
    has_session: bool = False
    """Whether a browser signed in, and may sign out."""
    nonces: tuple[Nonce, ...] = ()
    """What of signatures was not used before."""

    @property
    def name(self) -> str:
        """What the log and the audit call it."""
        return "+".join(self.names)

    @property
    def reach(self) -> Reach:
        """Whose builds it may read and steer."""
        return Reach(self.may(Action.READ), self.may(Action.STEER))

    @property
    def is_anonymous(self) -> bool:
        """Whether it showed nothing."""
        return self.names == (ANONYMOUS,)

    def may(self, action: Action, *, unsigned: bool = False) -> Tenants:
        """Return the tenants for which it may do that; ``unsigned``: whatever headers say."""
        return (self.unsigned if unsigned else self.allowed).get(action, NO_TENANTS)


_ALL: Allowed = dict.fromkeys(Action, ALL_TENANTS)
EVERYBODY = Caller(("everybody",), _ALL, _ALL)
"""Whoever calls a service that asks nobody."""
NOBODY = Caller(("nobody",), {}, {})
"""Whoever calls what is open to all."""


class Policies:
    """What each identity may do; immutable."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self.allowed = lru_cache(maxsize=256)(self._allowed)
        """Returns what any of the identities of these names may do."""

    def _allowed(self, names: tuple[str, ...]) -> Allowed:
        patterns: dict[Action, list[str]] = {}
        for policy in self._policies:
            if not set(names).isdisjoint(policy.identities):
                for action in policy.actions:
                    # Metrics are of no tenant.
                    of = (ANY,) if action is Action.METRICS else policy.tenants
                    patterns.setdefault(action, []).extend(of)
        return {action: Tenants(tenants) for action, tenants in patterns.items()}
