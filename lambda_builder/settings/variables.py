"""The environment variables that are settings, and those that only look so."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from lambda_builder.settings.constants import PREFIX
from lambda_builder.settings.model import Settings

WITHOUT_PREFIX = ("port", "k_sink", "k_ce_overrides")
_CLIENT_VARIABLES = (f"{PREFIX}URL", f"{PREFIX}TOKEN")
"""Of the command line, which talks to a running service."""
_MADE_BY_KUBERNETES = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
"""How Kubernetes writes ``…_PORT``: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""


def variables() -> list[str]:
    """Return the environment variables that are settings."""
    names = Settings.model_fields
    return [n.upper() if n in WITHOUT_PREFIX else PREFIX + n.upper() for n in names]


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Return the variables with our prefix that are no setting, each with the nearest that is.

    Those that Kubernetes makes for a Service of our name do not count.
    """
    known = [*variables(), *_CLIENT_VARIABLES]
    unknown = sorted(
        name
        for name, value in environ.items()
        if name.startswith(PREFIX)
        and name.upper() not in known
        and not _MADE_BY_KUBERNETES.fullmatch(name)
        and not (name.endswith("_PORT") and _ADDRESS.match(value))
    )
    # ``PORT`` is no setting of ours with the prefix, and the first thing that somebody tries.
    nearest = {f"{PREFIX}{name.upper()}": name.upper() for name in WITHOUT_PREFIX}
    return [(name, nearest.get(name) or _nearest(name, known)) for name in unknown]


def _nearest(name: str, known: list[str]) -> str | None:
    bare = [variable.removeprefix(PREFIX) for variable in known]
    found = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return known[bare.index(found[0])] if found else None
