"""What a start warns of: settings that work, and do not do what is likely to be meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lambda_builder.manifest.composing import setting_text
from lambda_builder.manifest.placeholders import FIELDS
from lambda_builder.settings import Settings, unknown_variables

_KNOWN = frozenset(FIELDS)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TENANT = frozenset({"third_party_id", "third_party_id_repository", "third_party_id_name"})
"""Placeholders that no two tenants have the same of; of the ``_safe`` form they may."""


class Warned(NamedTuple):
    """One thing to warn of."""

    event: str
    """What the log calls it."""
    reason: str


def warnings_of(settings: Settings, environ: Mapping[str, str]) -> Iterator[Warned]:
    """Return what there is to warn of."""
    for variable, nearest in unknown_variables(environ):
        meant = f"; did you mean {nearest}?" if nearest else ""
        yield Warned("unknown_setting", f"{variable} is no setting{meant}")
    if is_open_to_others(settings):
        yield Warned(
            "open_to_everybody",
            f"AUTH_FILE is empty: whoever reaches {settings.host} may do everything",
        )
    if settings.auth_file is not None:
        for reason in _not_apart(settings):
            yield Warned("tenants_not_apart", reason)


def is_open_to_others(settings: Settings) -> bool:
    """Return whether everybody may do everything, and others than this machine can reach it."""
    return settings.auth_file is None and settings.host not in _LOOPBACK


def _not_apart(settings: Settings) -> Iterator[str]:
    """Say what lets one tenant at another's builds, whatever the policies in ``AUTH_FILE`` say."""
    if not settings.allowed_context_prefixes:
        yield "ALLOWED_CONTEXT_PREFIXES is empty: a tenant's event may name another's build context"
    if not settings.allowed_registries:
        yield "ALLOWED_REGISTRIES is empty: a tenant's event may name another's image to push to"
    if _TENANT.isdisjoint(setting_text("CONTEXT_URL", settings.context_url, _KNOWN).names):
        yield (
            "CONTEXT_URL does not name the tenant: an event can be of one and build the context of "
            "another; put ${third_party_id} into it, or its form _repository or _name"
        )
