"""Targets that read what a request shows of who sent it, before anything of that is proven."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Semaphore
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lambda_builder.access import auth_file
from lambda_builder.access.identities import Known, Reader
from lambda_builder.access.origins import Proxies, is_from_another_site
from lambda_builder.access.proofs import NotProven
from lambda_builder.access.shown import Shown, shown_in
from lambda_builder.access.signatures import Nonces

BEARER = "ci-token-of-twenty-characters"
HUB_SECRET = b"hub-secret"
WEBHOOK_SECRET = b"w" * 24
ISSUER, AUDIENCE, SUBJECT = "https://issuer.example", "lambda-builder", "builds:"
SIGNER = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = SIGNER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
ANYBODY = {"ci", "github", "partner", "broker", "anonymous"}
PROXY, PEER = "10.0.0.1", "192.0.2.1"
PROXIES = Proxies(["10.0.0.0/8", "fd00::/8"])


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _known() -> Known:
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": _base64(PUBLIC).decode()}
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "hub").write_bytes(HUB_SECRET)
        (folder / "partner").write_bytes(base64.b64encode(WEBHOOK_SECRET))
        (folder / "keys").write_text(json.dumps({"keys": [jwk]}))
        oidc: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "subject": f"{SUBJECT}*"}
        oidc |= {"jwks_file": str(folder / "keys"), "algorithms": ["Ed25519", "ES256"]}
        hub = {"scheme": "github", "secret_file": str(folder / "hub")}
        partner = {"scheme": "standard-webhooks", "secret_file": str(folder / "partner")}
        identities: list[dict[str, Any]] = [
            {"name": "ci", "token_sha256": [hashlib.sha256(BEARER.encode()).hexdigest()]},
            {"name": "github", "hmac": hub},
            {"name": "partner", "hmac": partner},
            {"name": "broker", "oidc": oidc},
            {"name": "anonymous"},
        ]
        (folder / "auth.yaml").write_text(yaml.safe_dump({"identities": identities}))
        return Reader(Nonces(), waiting=Semaphore()).known(auth_file.read(folder / "auth.yaml"))


KNOWN = _known()


# -- headers -----------------------------------------------------------------------------------


def credentials(data: bytes) -> None:
    """Lines of headers, an empty line, a body; ``@hub``, ``@v1`` and ``@now`` are made right."""
    head, _, body = data.partition(b"\n\n")
    headers = _headers(head.decode("latin-1"), body)
    environ = {f"HTTP_{name}": value for name, value in headers.items()}
    for peer in (PROXY, PEER):
        _check_origin({"REMOTE_ADDR": peer, **environ})
    for signed in (None, lambda: body):
        shown = shown_in(environ, signed)
        names = _names(shown)
        assert names <= ANYBODY
        assert ("anonymous" in names) == shown.is_nothing
        assert ("ci" in names) == (shown.token == BEARER)
        if "github" in names:
            assert signed
            assert headers["X_HUB_SIGNATURE_256"] == _hub(body)
        if "partner" in names:
            assert signed
            assert _digest(headers, body) in _digests(headers["WEBHOOK_SIGNATURE"])
            assert abs(float(headers["WEBHOOK_TIMESTAMP"]) - time.time()) < 330


def _headers(head: str, body: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in head.split("\n"))
    headers = {name.upper().replace("-", "_"): value.strip(" \t") for name, _, value in lines}
    headers = {n: v.replace("@now", str(int(time.time()))) for n, v in headers.items()}
    if "@hub" in (hub := headers.get("X_HUB_SIGNATURE_256", "")):
        headers["X_HUB_SIGNATURE_256"] = hub.replace("@hub", _hub(body))
    if "@v1" in (signature := headers.get("WEBHOOK_SIGNATURE", "")):
        headers["WEBHOOK_SIGNATURE"] = signature.replace("@v1", _v1(headers, body))
    return headers


def _hub(body: bytes) -> str:
    return "sha256=" + hmac.digest(HUB_SECRET, body, "sha256").hex()


def _v1(headers: dict[str, str], body: bytes) -> str:
    return "v1," + base64.b64encode(_digest(headers, body)).decode()


def _digest(headers: dict[str, str], body: bytes) -> bytes:
    # A fraction of a second is allowed, and not signed.
    whole = headers.get("WEBHOOK_TIMESTAMP", "").partition(".")[0].strip()
    text = f"{headers.get('WEBHOOK_ID', '')}.{whole}.".encode() + body
    return hmac.digest(WEBHOOK_SECRET, text, "sha256")


def _digests(signatures: str) -> list[bytes]:
    """Decode as the library does, which passes over what is no base64."""
    found = []
    for each in signatures.split(" "):
        with suppress(ValueError):
            found.append(base64.b64decode(each.partition(",")[2]))
    return found


def _names(shown: Shown) -> set[str]:
    try:
        return set(KNOWN.caller(shown).names)
    except NotProven:
        return set()


def _check_origin(environ: dict[str, str]) -> None:
    address = PROXIES.address_of(environ)
    if environ["REMOTE_ADDR"] == PEER:
        assert address == PEER
    else:
        ipaddress.ip_address(address)
    if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site":
        assert is_from_another_site(environ, PROXIES)
    if not {"HTTP_SEC_FETCH_SITE", "HTTP_ORIGIN"} & environ.keys():
        assert not is_from_another_site(environ, PROXIES)


# -- tokens ------------------------------------------------------------------------------------


def tokens(data: bytes) -> None:
    """A byte that says how the rest is a token: as it is, in parts with a signature, or signed."""
    how, rest = data[0] % 3 if data else 0, data[1:]
    parts = rest.split(b"\x00")
    if how:
        signed = b".".join(map(_base64, parts[:2]))
        made = SIGNER.sign(signed) if how == 2 else b"".join(parts[2:])
        token = b"%b.%b" % (signed, _base64(made))
    else:
        token = rest
    environ = {"HTTP_AUTHORIZATION": f"Bearer {token.decode('latin-1')}"}
    if "broker" in _names(shown_in(environ, None)):
        assert how == 2
        _check_token(*map(json.loads, parts[:2]))


def _check_token(header: dict[str, Any], claims: dict[str, Any]) -> None:
    assert header["alg"] == "Ed25519"
    assert header.get("kid") in ("k", None)
    assert claims["iss"] == ISSUER
    assert claims["aud"] == AUDIENCE or AUDIENCE in claims["aud"]
    assert isinstance(claims["sub"], str)
    assert claims["sub"].startswith(SUBJECT)
    assert claims["exp"] > time.time() - 60
