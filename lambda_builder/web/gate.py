"""The rules of routes: each view says what it asks of whoever calls it.

Who that is, and whether it may, is asked in ``access``, once for each request and before its view;
for events by ``Intake``, since a part of them need not come through Flask.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar, cast

from flask import Flask, Response, current_app, g, request

from lambda_builder.access.policies import Caller
from lambda_builder.access.rules import READ, STEER, Action, Rule
from lambda_builder.access.shown import SESSION_COOKIE
from lambda_builder.builds import Action as Command
from lambda_builder.errors import BootError, RefusalCode, Refused
from lambda_builder.steering.audit import Actor, Target
from lambda_builder.web.services import current_services

_RULE = "access_rule"
_COMMAND = "access_command"
_PAGE = "access_page"
_LOGIN_PATH = "/login"
_FILTERS = (
    *("state", "third_party_id", "parser_id", "correlation_id", "category"),
    *("q", "since", "until", "all"),
)
_LONGEST_FILTER = 253

View = TypeVar("View", bound=Callable[..., Any])


def asks(rule: Rule) -> Callable[[View], View]:
    """Give a view its rule; to stand below the routes that lead to it."""

    def give(view: View) -> View:
        setattr(view, _RULE, rule)
        return view

    return give


def is_page(view: View) -> View:
    """Say that people call a view by a browser: whoever has to sign in is sent to the form."""
    setattr(view, _PAGE, True)
    return view


def steers(action: Command) -> Callable[[View], View]:
    """Give a view that cancels or retries builds its rule; whoever may not is noted."""

    def give(view: View) -> View:
        setattr(view, _COMMAND, action)
        return asks(STEER)(view)

    return give


def actor() -> Actor:
    """Return who sent the present request, and from where, for the audit."""
    address = current_services().access.address_of(request.environ)
    return Actor(caller().name, address)


def target() -> Target:
    """Return what a request that steers names: one build, or filters."""
    build_id = (request.view_args or {}).get("build_id")
    if build_id is not None:
        return Target("api", build_id)
    given = {name: ",".join(request.args.getlist(name)) for name in _FILTERS}
    return Target(
        "bulk",
        third_party_id=given["third_party_id"] or None,
        filter={name: value[:_LONGEST_FILTER] for name, value in given.items() if value},
    )


def caller() -> Caller:
    """Return who sent the present request."""
    return cast(Caller, g.caller)


def still_reads(third_party_id: str) -> Callable[[], bool]:
    """Return what asks again, from any thread, whether the sender of the present request may read.

    That is builds of this third party. An issuer that cannot be asked takes nothing away.
    """
    access, environ = current_services().access, request.environ

    def ask() -> bool:
        try:
            return third_party_id in access.known(READ, environ).may(Action.READ)
        except Refused as refused:
            return refused.code is RefusalCode.ISSUER_UNAVAILABLE

    return ask


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


def _check() -> Response | None:
    if request.endpoint is None:  # there is no such route: nobody has to be asked for
        return None
    services, view = current_services(), current_app.view_functions[request.endpoint]
    rule: Rule = getattr(view, _RULE)
    if rule.action is Action.SEND and request.method == "POST":
        return None  # asked for with the events, whichever way they come
    try:
        g.caller = services.access.known(rule, request.environ)
        services.access.admit(g.caller, rule, request.environ)
    except Refused as refused:
        action = getattr(view, _COMMAND, None)
        if action is not None and "caller" in g and not g.caller.is_anonymous:
            services.audit.failed(actor(), action, [target()], refused.code)
        if refused.code is RefusalCode.UNAUTHENTICATED and hasattr(view, _PAGE):
            headers = {"Location": _LOGIN_PATH, "Cache-Control": "no-store"}
            response = Response("", HTTPStatus.SEE_OTHER, headers)
            if SESSION_COOKIE in request.cookies:
                # One that has ended would be refused for ever; one that another site's link left
                # at home is still good.
                response.delete_cookie(SESSION_COOKIE)
            return response
        raise
    return None
