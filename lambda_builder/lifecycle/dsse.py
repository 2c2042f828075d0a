"""DSSE: signed envelopes around statements, and their check. Pure; the keys are ``cryptography``'s.

https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md and envelope.md. Signatures are
ed25519, or ECDSA over P-256 with SHA-256 in ASN.1, which cosign and in-toto's tools read too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"

_PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
_PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


class DsseError(ValueError):
    """No key, no envelope, or one that nobody with the key has signed; the message says which."""


class Signer:
    """Signs with one key; immutable and thread-safe. It never shows the key."""

    def __init__(self, key: _PrivateKey) -> None:
        self._key = key
        self.key_id = key_id(key.public_key())

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """Read a private key in PEM, without a password; raises ``DsseError`` or ``OSError``."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Their messages may quote what is in the file.
            raise DsseError("is no private key in PEM without a password") from None
        if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
            return cls(key)
        if isinstance(key, Ed25519PrivateKey):
            return cls(key)
        raise DsseError("must be an ed25519 or ECDSA P-256 key")

    def envelope(self, payload: bytes) -> dict[str, Any]:
        """Return ``payload``, an in-toto statement, in an envelope that is signed."""
        message = pae(PAYLOAD_TYPE, payload)
        if isinstance(self._key, Ed25519PrivateKey):
            signature = self._key.sign(message)
        else:
            signature = self._key.sign(message, ECDSA(hashes.SHA256()))
        return {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": self.key_id, "sig": base64.b64encode(signature).decode()}],
        }


def read_public_key(pem: bytes) -> _PublicKey:
    """Return a public key in PEM; raises ``DsseError`` for anything else."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise DsseError("there is no public key in PEM") from None
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise DsseError("the key must be an ed25519 or ECDSA P-256 one")


def key_id(key: _PublicKey) -> str:
    """Return the SHA-256, in hex, of the key's SubjectPublicKeyInfo in DER."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def opened(envelope: Any, key: _PublicKey) -> bytes:
    """Return the payload of an envelope that ``key`` has signed; raises ``DsseError``."""
    try:
        payload = _decoded(envelope["payload"])
        kind, signatures = envelope["payloadType"], envelope["signatures"]
        texts = [_decoded(each["sig"]) for each in signatures]
    except (KeyError, TypeError, ValueError) as error:
        raise DsseError("it is no DSSE envelope") from error
    if kind != PAYLOAD_TYPE:
        raise DsseError(f"its payload is of another type than {PAYLOAD_TYPE}")
    message = pae(kind, payload)
    if not any(_has_signed(key, signature, message) for signature in texts):
        raise DsseError("nobody with this key has signed it")
    return payload


def statement_of(text: bytes, key: _PublicKey) -> dict[str, Any]:
    """Return the statement in an envelope given as JSON; raises ``DsseError``."""
    try:
        envelope = json.loads(text)
        statement = json.loads(opened(envelope, key))
    except DsseError:
        raise
    except (ValueError, RecursionError) as error:
        raise DsseError("it is no JSON") from error
    if not isinstance(statement, dict):
        raise DsseError("its payload is no statement")
    return statement


def pae(kind: str, payload: bytes) -> bytes:
    """Return what is signed of an envelope: the spec's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return base64.b64decode(text, altchars=b"-_", validate=True)


def _has_signed(key: _PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
