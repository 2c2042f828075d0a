"""The filters of the page: those of the API, as a form sends them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import request

from lambda_builder.web.parameters import Parameters

_NAMES = (
    *("state", "third_party_id", "parser_id", "correlation_id"),
    *("category", "q", "since", "until"),
)
_TIMES = ("since", "until")
_WITHOUT_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?")
"""What a field for a date and a time sends; the page says that it is UTC."""


class PageParameters(Parameters):
    """The parameters of a page."""

    def text(self, name: str) -> str | None:
        """Return a text as it is, but times with their zone."""
        value = super().text(name)
        if value and name in _TIMES and _WITHOUT_ZONE.fullmatch(value):
            return f"{value}Z"
        return value

    def given(self) -> dict[str, Any]:
        """Return the filters that are set, as a query has them."""
        filters: dict[str, Any] = {
            name: self.text(name) for name in _NAMES if name != "state" and self.text(name)
        }
        states = [state for state in request.args.getlist("state") if state]
        return {"state": states, **filters} if states else filters

    def as_form(self) -> Mapping[str, Any]:
        """Return what the fields of the form hold."""
        form: dict[str, Any] = {name: self.text(name) or "" for name in _NAMES}
        for name in _TIMES:
            form[name] = form[name].removesuffix("Z")[:16]
        return {**form, "states": request.args.getlist("state")}
