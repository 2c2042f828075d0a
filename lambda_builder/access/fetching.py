"""An OpenID Connect issuer's keys, fetched by discovery.

https://openid.net/specs/openid-connect-discovery-1_0.html, and RFC 7517 for the keys.
"""

from __future__ import annotations

import json
import ssl
import time
from typing import Any

import urllib3
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from lambda_builder.access.auth_file import Source, https, read_small

TIMEOUT_SECONDS = 5.0
"""For all of it."""
_MOST_BYTES = 262_144
_MOST_KEYS = 100
_TYPES: dict[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {
    "RSA": RSAKey,
    "EC": ECKey,
    "OKP": OKPKey,
}


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had; the message says why, and has no secret in it."""


def fetch_keys(source: Source, *, timeout: float = TIMEOUT_SECONDS) -> list[Key]:
    """Ask the issuer for its keys, for ``timeout`` seconds; raises ``KeysUnavailable``."""
    deadline = time.monotonic() + timeout
    try:
        context = ssl.create_default_context(cafile=source.ca_file)
        with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
            url = f"{source.issuer.rstrip('/')}/.well-known/openid-configuration"
            described = _get(pool, url, source, deadline)
            if described.get("issuer") != source.issuer:
                raise KeysUnavailable(f"{url} is of the issuer {str(described.get('issuer'))!r}")
            return read_keys(_get(pool, https(str(described.get("jwks_uri"))), source, deadline))
    except (urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError) as error:
        raise KeysUnavailable(str(error)) from error


def _get(pool: urllib3.PoolManager, url: str, source: Source, deadline: float) -> dict[str, Any]:
    headers = {"Accept": "application/json"}
    if source.token_file is not None:
        # Read each time: such tokens are replaced now and then.
        headers["Authorization"] = f"Bearer {read_small(source.token_file).strip()}"
    left = max(0.01, deadline - time.monotonic())
    timeout = urllib3.Timeout(connect=left, read=left)
    response = pool.request(
        "GET", url, headers=headers, timeout=timeout, redirect=False, preload_content=False
    )
    try:
        if response.status != 200:
            raise KeysUnavailable(f"{url} answered {response.status}")
        content = bytearray()
        # What comes bit by bit has no more time than what comes at once.
        while piece := response.read1(65_536):
            content += piece
            if len(content) > _MOST_BYTES or time.monotonic() > deadline:
                raise KeysUnavailable(f"{url} is too large or too slow")
    finally:
        response.close()
    found = json.loads(content)
    if not isinstance(found, dict):
        raise KeysUnavailable(f"{url} is no JSON object")
    return found


def read_keys(jwks: Any) -> list[Key]:
    """Return the public keys of a JWK set that signatures can be checked with.

    Those of other kinds, secrets above all, are passed over. Raises ``ValueError`` for what is no
    such set.
    """
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is no JWK set")
    return [key for each in listed[:_MOST_KEYS] if (key := _key(each)) is not None]


def _key(jwk: Any) -> Key | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    kty = jwk.get("kty")
    kind = _TYPES.get(kty) if isinstance(kty, str) else None
    if kind is None:
        return None
    try:
        key = kind.import_key(jwk)
        _ = key.public_key
    except Exception:  # noqa: BLE001 - joserfc raises as it likes for members of a wrong type
        return None
    return key
