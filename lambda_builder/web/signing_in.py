"""``/login`` and ``/logout``: a browser's session begins with a token, typed into a form."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, request

from lambda_builder.access.rules import OPEN
from lambda_builder.access.shown import SESSION_COOKIE, SESSION_SECONDS
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.page.rendering import SECURITY_HEADERS
from lambda_builder.web import problems
from lambda_builder.web.correlation import current
from lambda_builder.web.gate import asks
from lambda_builder.web.page import made
from lambda_builder.web.services import current_services

blueprint = Blueprint("signing_in", __name__)

LOGIN_PATH = "/login"
_PAGE_PATH = "/"
_MOST_BYTES = 8192
_SHOWN_AGAIN = (RefusalCode.UNAUTHENTICATED, RefusalCode.TOO_MANY_FAILURES)


@blueprint.get(LOGIN_PATH)
@asks(OPEN)
def show_login() -> Response:
    """Show the form, where anybody is asked for."""
    if current_services().access.asks_nobody:
        return _see(_PAGE_PATH)
    return _form(None, HTTPStatus.OK)


@blueprint.post(LOGIN_PATH)
@asks(OPEN)
def sign_in() -> Response:
    """Begin a session with the token of the form, or show it again."""
    request.max_content_length = _MOST_BYTES
    token = request.form.get("token", "").strip()
    access = current_services().access
    try:
        cookie = access.sign_in(token, request.environ)
    except Refused as refused:
        if refused.code not in _SHOWN_AGAIN:
            raise
        told = problems.of_error(refused, current())
        response = _form(refused.detail, told.status)
        for name in ("WWW-Authenticate", "Retry-After"):
            if name in told.headers:
                response.headers[name] = told.headers[name]
        return response
    response = _see(_PAGE_PATH)
    _set_cookie(response, cookie, SESSION_SECONDS)
    return response


@blueprint.post("/logout")
@asks(OPEN)
def sign_out() -> Response:
    """End the session of this browser."""
    current_services().access.refuse_other_sites(request.environ)
    response = _see(LOGIN_PATH)
    _set_cookie(response, "", 0)
    return response


def _form(problem: str | None, status: int) -> Response:
    response = made("login.html", status, problem=problem)
    response.headers["Cache-Control"] = "no-store"
    return response


def _see(path: str) -> Response:
    response = Response("", HTTPStatus.SEE_OTHER)
    response.headers.update({**SECURITY_HEADERS, "Cache-Control": "no-store", "Location": path})
    return response


def _set_cookie(response: Response, value: str, seconds: int) -> None:
    response.set_cookie(
        SESSION_COOKIE,
        value,
        max_age=seconds,
        path="/",
        secure=current_services().access.is_secure(request.environ),
        httponly=True,
        samesite="Strict",
    )
