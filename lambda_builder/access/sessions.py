"""Sessions of browsers: a cookie that stands for a bearer token for some hours, on every replica.

The cookie is the token itself, encrypted by a key that comes from the token's hash in
``AUTH_FILE``. So it ends with that hash; whoever reads the file, which has no tokens, cannot make
one; and whoever gets hold of one has neither the token nor anything that lasts. Thread-safe.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lambda_builder.access.shown import SESSION_SECONDS
from lambda_builder.access.tokens import hash_of

_KEY_BYTES = 32
_ID_BYTES = 12
_LONGEST_TOKEN = 1024
"""Characters of a token that a cookie, of 4 KiB at most, can hold."""


class Sessions:
    """Begins sessions and knows them again; immutable."""

    def __init__(self, hashes: Iterable[str], *, clock: Callable[[], float] = time.time) -> None:
        """``hashes`` are those of the tokens that may have sessions: SHA-256 in hex."""
        self._clock = clock
        self._ciphers = dict(map(_cipher, hashes))

    def begin(self, token: str) -> str | None:
        """Return the cookie of a new session; None where the token is nobody's."""
        name, _ = _cipher(hash_of(token))
        cipher = self._ciphers.get(name)
        if cipher is None or len(token) > _LONGEST_TOKEN:
            return None
        text = token.encode("utf-8", "surrogatepass")
        return f"{name}.{cipher.encrypt_at_time(text, int(self._clock())).decode()}"

    def token_of(self, cookie: str) -> str | None:
        """Return the token that a cookie stands for; None where its session has ended."""
        name, _, encrypted = cookie.partition(".")
        cipher = self._ciphers.get(name)
        if cipher is None or not encrypted.isascii():
            return None
        try:
            text = cipher.decrypt_at_time(encrypted, SESSION_SECONDS, int(self._clock()))
            return text.decode("utf-8", "surrogatepass")
        except (InvalidToken, ValueError):
            return None


def _cipher(token_hash: str) -> tuple[str, Fernet]:
    """Return the name and the cipher of the sessions of one token."""
    derivation = HKDF(SHA256(), _ID_BYTES + _KEY_BYTES, salt=None, info=b"lambda-builder session")
    derived = derivation.derive(bytes.fromhex(token_hash))
    name, key = derived[:_ID_BYTES], derived[_ID_BYTES:]
    return name.hex(), Fernet(base64.urlsafe_b64encode(key))
