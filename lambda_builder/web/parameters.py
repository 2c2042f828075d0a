"""Query parameters, read and judged together: a refusal names every one that is bad."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TypeVar

from flask import request

from lambda_builder.builds import BuildState, FailureCategory, parse_time
from lambda_builder.errors import FieldProblem, RefusalCode, Refused
from lambda_builder.selection import BuildFilter
from lambda_builder.tenants import Tenants

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
_LONGEST_Q = 253
_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"", "false", "0", "no"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

E = TypeVar("E", bound=StrEnum)


class Parameters:
    """The parameters of the present request; an empty one counts as absent.

    What is bad is noted, and ``judge`` refuses it; until then it reads as if it were absent.
    """

    def __init__(self) -> None:
        self._problems: list[FieldProblem] = []

    def judge(self) -> None:
        """Raise ``Refused`` (``INVALID_PARAMETER``) where any parameter read so far was bad."""
        if self._problems:
            detail = "; ".join(f"{problem.field} {problem.message}" for problem in self._problems)
            raise Refused(RefusalCode.INVALID_PARAMETER, detail, errors=self._problems)

    def bad(self, field: str, message: str) -> None:
        """Note what is bad about a parameter."""
        self._problems.append(FieldProblem(field, message))

    def build_filter(self, *tenants: Tenants) -> BuildFilter:
        """Return which builds are meant, of those of third parties in each of ``tenants``."""
        states = (self._one_of("state", value, BuildState) for value in self._all("state"))
        category = self.text("category")
        return BuildFilter(
            states=frozenset(state for state in states if state is not None),
            third_party_id=self.text("third_party_id"),
            parser_id=self.text("parser_id"),
            correlation_id=self.text("correlation_id"),
            category=category and self._one_of("category", category, FailureCategory),
            q=self._search("q"),
            since=self._time("since"),
            until=self._time("until"),
            tenants=tuple(each for each in tenants if not each.are_all),
        )

    def text(self, name: str) -> str | None:
        """Return a text as it is."""
        return request.args.get(name) or None

    def limit(self) -> int:
        """Return how many builds are asked for."""
        value = self.text("limit")
        if value is None:
            return DEFAULT_LIMIT
        if re.fullmatch(r"[0-9]{1,4}", value) and 1 <= int(value) <= MAX_LIMIT:
            return int(value)
        self.bad("limit", f"must be a whole number from 1 to {MAX_LIMIT}")
        return DEFAULT_LIMIT

    def flag(self, name: str) -> bool:
        """Return whether something is wanted; no where it is absent."""
        folded = (self.text(name) or "").lower()
        if folded not in _TRUE | _FALSE:
            self.bad(name, "must be true or false")
        return folded in _TRUE

    def _all(self, name: str) -> list[str]:
        return [value for value in request.args.getlist(name) if value]

    def _one_of(self, name: str, value: str, known: type[E]) -> E | None:
        try:
            return known(value)
        except ValueError:
            self.bad(name, f"must be one of {', '.join(known)}")
            return None

    def _search(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and (len(value) > _LONGEST_Q or _CONTROL.search(value)):
            self.bad(name, f"must have at most {_LONGEST_Q} characters, none of them control")
        return value

    def _time(self, name: str) -> float | None:
        value = self.text(name)
        if value is None:
            return None
        # A plus sign that was not percent-encoded arrives as a space.
        moment = parse_time(value.replace(" ", "+"))
        if moment is None:
            self.bad(name, "must be a time as in RFC 3339, like 2026-11-24T06:00:00Z")
        return moment
