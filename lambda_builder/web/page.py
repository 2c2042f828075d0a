"""``/`` and ``/page``: the operations page, for people with a browser.

Whatever is shown is found out as the API does it, by whoever asks; a page that many look at is
made once a second.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from cachetools import TTLCache
from flask import Blueprint, Flask, Response, current_app, g, request

from lambda_builder.access.rules import OPEN, READ, Action
from lambda_builder.builds import BuildState, FailureCategory
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.page.blockers import notices
from lambda_builder.page.chart import chart
from lambda_builder.page.groups import Group, groups
from lambda_builder.page.kept import KeptPages
from lambda_builder.page.rendering import FILES, SECURITY_HEADERS, Pages, asset
from lambda_builder.page.rows import row
from lambda_builder.page.words import KINDS
from lambda_builder.problems import MEDIA_TYPE
from lambda_builder.selection import BuildFilter
from lambda_builder.tenants import Tenants
from lambda_builder.web import correlation, gate, problems
from lambda_builder.web.gate import asks, is_page
from lambda_builder.web.page_filters import PageParameters
from lambda_builder.web.services import Services, current_services

blueprint = Blueprint("page", __name__)

_EXTENSION = "lambda_builder_page"
_FAILED = frozenset({BuildState.FAILED, BuildState.DEAD})
_GROUPED = 500
"""The newest failures, which are grouped."""
_GROUPS_SHOWN = 4
_GROUPS_SECONDS = 5.0
_ASSET_SECONDS = 31_536_000
Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Viewer:
    """What whoever looks may do, so that the page hides the rest; the server decides again."""

    name: str | None
    """Of whoever has signed in."""
    may_sign_in: bool
    reads: bool
    may_steer: bool
    sees_all: bool
    read_only: bool


_NOBODY = Viewer(
    name=None, may_sign_in=False, reads=False, may_steer=False, sees_all=False, read_only=False
)


@dataclass(frozen=True, slots=True)
class _State:
    """What the page keeps between requests."""

    pages: Pages = field(default_factory=Pages)
    kept: KeptPages = field(default_factory=KeptPages)
    groups: TTLCache[tuple[str, ...], tuple[list[Group], int]] = field(
        default_factory=lambda: TTLCache(32, _GROUPS_SECONDS)
    )
    lock: threading.Lock = field(default_factory=threading.Lock)


def register(app: Flask) -> None:
    """Put the page into an app."""
    app.extensions[_EXTENSION] = _State()
    app.register_blueprint(blueprint)


# -- views -------------------------------------------------------------------------------------


@blueprint.get("/")
@asks(READ)
@is_page
def overview() -> Response:
    """Show how the service does, and the builds that the filters mean."""
    parameters = PageParameters()
    tenants = gate.caller().may(Action.READ)
    wanted, cursor = parameters.build_filter(tenants), parameters.text("cursor")
    parameters.judge()
    services, filters = current_services(), parameters.given()

    def gather() -> Content:
        content = list_of(services, wanted, cursor)
        return {
            **content,
            "numbers": _numbers(services) if viewer().sees_all else None,
            "groups": _failures(services, tenants)[0][:_GROUPS_SHOWN],
            "filters": filters,
            "filtered": not wanted.is_empty,
            "given": parameters.as_form(),
            "more_filters": bool(filters.keys() - {"q", "state"}),
            "states": [(state.value, KINDS[state]) for state in BuildState],
            "categories": [category.value for category in FailureCategory],
        }

    return shown("overview.html", gather)


@blueprint.get("/page/failures")
@asks(READ)
@is_page
def failures() -> Response:
    """Show the failures in groups."""
    services, tenants = current_services(), gate.caller().may(Action.READ)

    def gather() -> Content:
        found, total = _failures(services, tenants)
        return {"groups": found, "total": total}

    return shown("failures.html", gather)


@blueprint.get("/page/rejected")
@asks(READ)
@is_page
def rejected() -> Response:
    """Show the last events that were refused for good."""
    kept = current_services().rejections.newest(gate.caller().may(Action.READ))
    return shown("rejected.html", lambda: {"items": kept[:200]})


@blueprint.get("/page/dead-letters")
@asks(READ)
@is_page
def dead_letters() -> Response:
    """Show the builds that no Job could be made for."""
    services, tenants = current_services(), gate.caller().may(Action.READ)
    cursor = PageParameters().text("cursor")
    wanted = BuildFilter(
        states=frozenset({BuildState.DEAD}), tenants=() if tenants.are_all else (tenants,)
    )

    def gather() -> Content:
        return {
            **list_of(services, wanted, cursor),
            "url_set": bool(services.settings.dead_letter_url),
            "waiting": services.inspection.dead_letters_waiting() if tenants.are_all else None,
        }

    return shown("dead.html", gather)


@blueprint.get("/page/audit")
@asks(READ)
@is_page
def audit() -> Response:
    """Show who cancelled and retried what."""
    services, tenants = current_services(), gate.caller().may(Action.READ)
    cursor = PageParameters().text("cursor")

    def gather() -> Content:
        page = services.audit.page(tenants, limit=100, cursor=cursor)
        return {"items": page.items, "cursor": cursor, "next_cursor": page.next_cursor}

    return shown("audit.html", gather)


@blueprint.get("/page/static/<name>")
@asks(OPEN)
def static(name: str) -> Response:
    """Serve what the pages load; nothing in it is secret, and its path changes with it."""
    if name not in FILES:
        raise Refused(RefusalCode.NOT_FOUND, f"no file {name[:100]!r}")
    response = Response(asset(name), content_type=FILES[name])
    response.headers["Cache-Control"] = f"public, max-age={_ASSET_SECONDS}, immutable"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


# -- what pages show -----------------------------------------------------------------------------


def list_of(services: Services, wanted: BuildFilter, cursor: str | None) -> Content:
    """Return one page of builds."""
    page, now = services.listing.page(wanted, limit=50, cursor=cursor), time.time()
    rows = [row(each, page.positions.get(each.request.event_hash), now) for each in page.items]
    return {"rows": rows, "cursor": cursor, "next_cursor": page.next_cursor}


def _numbers(services: Services) -> Content:
    stats, obstacles = services.creator.get_stats(), services.creator.get_obstacles()
    cap = services.settings.max_active_jobs
    oldest = stats.oldest_queued_seconds
    return {
        "notices": notices(stats, obstacles, max_active_jobs=cap),
        "rates": services.minutes.last_minute(),
        "chart": chart(services.minutes.minutes()),
        # Since when does not change with the time, as for how long does.
        "oldest_since": round(time.time() - oldest) if stats.queue_size else None,
        "stats": stats.model_copy(update={"oldest_queued_seconds": 0.0}),
        "cap": cap,
    }


def _failures(services: Services, tenants: Tenants) -> tuple[list[Group], int]:
    state = _state()
    with state.lock:
        known = state.groups.get(tenants.patterns)
    if known is None:
        wanted = BuildFilter(states=_FAILED, tenants=() if tenants.are_all else (tenants,))
        failed = services.listing.page(wanted, limit=_GROUPED).items
        known = groups(failed), len(failed)
        with state.lock:
            state.groups[tenants.patterns] = known
    return known


def viewer() -> Viewer:
    """Return what whoever asks may do."""
    if "caller" not in g:  # the request was refused before it was asked who sent it
        return _NOBODY
    services, caller = current_services(), gate.caller()
    read_only, is_asked = services.settings.read_only, not services.access.asks_nobody
    return Viewer(
        name=caller.name if is_asked and caller.allowed and not caller.is_anonymous else None,
        may_sign_in=caller.is_anonymous,
        reads=bool(caller.may(Action.READ)),
        may_steer=bool(caller.may(Action.STEER)) and not read_only,
        sees_all=caller.may(Action.READ).are_all,
        read_only=read_only,
    )


# -- answers -------------------------------------------------------------------------------------


def shown(template: str, gather: Callable[[], Content]) -> Response:
    """Answer with a page that is kept for a second, or that it is the one the browser has."""
    services, state = current_services(), _state()
    reach = gate.caller().reach
    key = (request.full_path, gate.caller().names, reach.read.patterns, reach.steer.patterns)
    kept = state.kept.known(key)
    if kept is None:
        # Neither may pages take the threads that events need, nor wait for those they do.
        with services.threads.pages.take():
            who, here = viewer(), request.path
            kept = state.kept.put(key, {**gather(), "viewer": who, "here": here})
    if request.if_none_match.contains_weak(kept.tag):
        response = Response(status=304)
    else:
        response = Response(kept.body(lambda content: state.pages.render(template, **content)))
    response.headers["ETag"] = f'W/"{kept.tag}"'
    return _secured(response)


def made(template: str, answered: int = 200, **content: Any) -> Response:
    """Answer with a page that is made for this request alone."""
    here = {"viewer": viewer(), "here": request.path}
    return _secured(Response(_state().pages.render(template, **here, **content), answered))


def _secured(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _state() -> _State:
    return cast(_State, current_app.extensions[_EXTENSION])


def told(error: Exception) -> Response:
    """Answer an error: as a page to a browser, else as the API does."""
    answer = problems.of_error(error, correlation.current())
    if request.accept_mimetypes.best_match((MEDIA_TYPE, "text/html")) != "text/html":
        return answer.response()
    problem = json.loads(answer.body)
    fields = {
        name: problem[name] for name in ("title", "detail", "code", "correlation_id", "status")
    }
    response = made("error.html", answer.status, **fields)
    for name in ("Retry-After", "WWW-Authenticate", "Connection"):
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    return response


blueprint.register_error_handler(Exception, told)
