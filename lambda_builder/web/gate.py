"""The rules of routes: each view says what it asks of whoever calls it.

Who that is, and whether it may, is asked in ``access``, once for each request and before its view;
for events by ``Intake``, since a part of them need not come through Flask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, current_app, g, request

from lambda_builder.access.policies import Caller
from lambda_builder.access.rules import Action, Rule
from lambda_builder.errors import BootError
from lambda_builder.web.services import current_services

_RULE = "access_rule"

View = TypeVar("View", bound=Callable[..., Any])


def asks(rule: Rule) -> Callable[[View], View]:
    """Give a view its rule; to stand below the routes that lead to it."""

    def give(view: View) -> View:
        setattr(view, _RULE, rule)
        return view

    return give


def caller() -> Caller:
    """Return who sent the present request."""
    return cast(Caller, g.caller)


def register(app: Flask) -> None:
    """Ask for the caller of every request; raises ``BootError`` where a route has no rule."""
    without = [
        rule.rule for rule in app.url_map.iter_rules() if rule_of(app, rule.endpoint) is None
    ]
    if without:
        raise BootError(f"routes without an access rule: {', '.join(sorted(set(without)))}")
    app.before_request(_check)


def rule_of(app: Flask, endpoint: str) -> Rule | None:
    """Return the rule of an endpoint, if it has one."""
    return getattr(app.view_functions[endpoint], _RULE, None)


def _check() -> None:
    if request.endpoint is None:  # there is no such route: nobody has to be asked for
        return
    rule: Rule = getattr(current_app.view_functions[request.endpoint], _RULE)
    if rule.action is Action.SEND and request.method == "POST":
        return  # asked for with the events, whichever way they come
    g.caller = current_services().access.check(rule, request.environ)
