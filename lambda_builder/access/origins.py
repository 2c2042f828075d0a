"""Where a request comes from: its address, and whether a page of another site sent it. Pure.

Reads the WSGI environment (PEP 3333).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from werkzeug.http import parse_list_header, parse_options_header

Environ = Mapping[str, Any]
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_SAME_SITE = frozenset({"same-origin", "none"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Proxies:
    """The proxies that are believed whom they send for: ``TRUSTED_PROXIES``. Immutable."""

    def __init__(self, ranges: Sequence[str]) -> None:
        self._ranges: list[_Network] = [ipaddress.ip_network(each) for each in ranges]

    def address_of(self, environ: Environ) -> str:
        """Return the address of the client, as the proxies on its way tell it.

        Of ``X-Forwarded-For`` and ``Forwarded`` (RFC 7239) the last that no proxy of ours has is
        taken, since all before it may be made up. Where both are there and tell of different
        ones, a proxy let one pass from outside: its own address counts.
        """
        peer = str(environ.get("REMOTE_ADDR", ""))
        if not self.trust(peer):
            return peer
        told = {
            self._client(chain)
            for chain in (
                parse_list_header(environ.get("HTTP_X_FORWARDED_FOR", "")),
                _forwarded_for(environ.get("HTTP_FORWARDED", "")),
            )
            if chain
        }
        return (told.pop() or peer) if len(told) == 1 else peer

    def is_secure(self, environ: Environ) -> bool:
        """Return whether the client's connection has TLS, as far as is known.

        By what a trusted proxy says, or by the origin that a browser names for itself.
        """
        origin = str(environ.get("HTTP_ORIGIN", ""))
        if environ.get("wsgi.url_scheme") == "https" or origin.lower().startswith("https://"):
            return True
        if not self.trust(str(environ.get("REMOTE_ADDR", ""))):
            return False
        forwarded = parse_list_header(environ.get("HTTP_FORWARDED", ""))
        told = [parse_options_header(f"x;{each}")[1].get("proto", "") for each in forwarded]
        told += parse_list_header(environ.get("HTTP_X_FORWARDED_PROTO", ""))
        return any(each.strip().lower() == "https" for each in told)

    def trust(self, address: str) -> bool:
        """Return whether what comes from this address is believed."""
        if not self._ranges:
            return False
        known = _address(address)
        return known is not None and any(known in each for each in self._ranges)

    def _client(self, chain: Sequence[str]) -> str | None:
        for each in reversed(chain):
            known = _address(each)
            if known is None:
                return None
            if not any(known in network for network in self._ranges):
                return str(known)
        return str(_address(chain[0]))


def is_from_another_site(environ: Environ, proxies: Proxies) -> bool:
    """Return whether a browser sent this for a page of another origin.

    By ``Sec-Fetch-Site`` (W3C Fetch Metadata), else by ``Origin`` (RFC 6454); what has neither
    does not come from a browser that is made since 2020, or was not sent by a page.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site.strip().lower() not in _SAME_SITE
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return False
    host = str(environ.get("HTTP_HOST", ""))
    if proxies.trust(str(environ.get("REMOTE_ADDR", ""))):
        host = str(environ.get("HTTP_X_FORWARDED_HOST") or host)
    return not _is_of_host(str(origin), host)


def _is_of_host(origin: str, host: str) -> bool:
    """Return whether an origin is that of a ``Host`` header; TLS may have ended before us."""
    try:
        url = urlsplit(origin)
        own = urlsplit(f"//{host}")
        port = url.port or _DEFAULT_PORTS.get(url.scheme)
        own_port = own.port or _DEFAULT_PORTS.get(url.scheme)
    except ValueError:
        return False
    return url.hostname is not None and (url.hostname, port) == (own.hostname, own_port)


def _forwarded_for(value: str) -> list[str]:
    found = []
    for element in parse_list_header(value):
        _, parameters = parse_options_header(f"x;{element}")
        if "for" in parameters:
            found.append(parameters["for"])
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, with a port or in brackets as proxies may write it."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        known = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        return known.ipv4_mapped
    return known
