"""The page's templates and files, from the package."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
import yaml

from lambda_builder.builds import rfc3339
from lambda_builder.page.words import span

FILES: Mapping[str, str] = {
    "page.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "log.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""What the page loads, and what each is."""
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every page. Nothing is loaded from elsewhere, and nothing in the HTML is run."""


class Pages:
    """Makes HTML of templates; thread-safe. Whatever is shown is escaped."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("lambda_builder.page"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["asset"] = _asset
        self._environment.filters.update(
            span=span,
            rfc3339=rfc3339,
            clock=_clock,
            build_path=build_path,
            query=_query,
        )

    def render(self, name: str, **content: Any) -> bytes:
        """Return a page in UTF-8; what UTF-8 does not know becomes a question mark."""
        template = self._environment.get_template(name)
        return template.render(now=time.time(), **content).encode("utf-8", "replace")


def build_path(build_id: str) -> str:
    """Return where the page shows a build."""
    return f"/page/builds/{quote(build_id, safe='', errors='replace')}"


@cache
def asset(name: str) -> bytes:
    """Return a file that the page loads, one of ``FILES``."""
    return resources.files(__package__).joinpath("static", name).read_bytes()


@cache
def _asset(name: str) -> str:
    """Return the path of a file; it is another when the file is."""
    return f"/page/static/{name}?v={hashlib.sha256(asset(name)).hexdigest()[:8]}"


def _query(parameters: Mapping[str, Any]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return urlencode(given, doseq=True, errors="replace")


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def as_yaml(value: Any) -> str:
    """Return YAML as kubectl writes it."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
