"""Signed bodies: GitHub's way and Standard Webhooks; both HMAC-SHA256 over the body.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries and
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError, WebhookVerificationError

from lambda_builder.access.auth_file import WEBHOOK_TOLERANCE_SECONDS
from lambda_builder.access.policies import Nonce
from lambda_builder.access.proofs import Denial, NotProven
from lambda_builder.access.shown import Shown

_MOST_NONCES = 100_000
_HUB_PREFIX = "sha256="


class GithubProof:
    """``X-Hub-Signature-256``; immutable. It has no time: what is sent again is let through.

    Then the event's own id tells that it was seen before.
    """

    is_of_body = True

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    def check(self, shown: Shown) -> None:
        """Compare with each secret's signature in constant time; raises ``NotProven``."""
        sent = shown.hub_signature
        if sent is None:
            raise NotProven(Denial.MISSING)
        body, given = shown.body(), sent.encode("latin-1", "replace")
        expected = [
            f"{_HUB_PREFIX}{hmac.digest(secret, body, 'sha256').hex()}".encode()
            for secret in self._secrets
        ]
        if not any([hmac.compare_digest(given, each) for each in expected]):  # noqa: C419
            raise NotProven(Denial.SIGNATURE)


class WebhookProof:
    """Standard Webhooks: id, time and body are signed; thread-safe.

    ``is_used`` says of a signature whether its like was used before.
    """

    is_of_body = True

    def __init__(
        self,
        name: str,
        secrets: Sequence[str],
        *,
        tolerance_seconds: int,
        is_used: Callable[[Nonce], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ``ValueError`` for what is no secret of theirs."""
        self._name = name
        self._webhooks = [_webhook(secret) for secret in secrets]
        self._tolerance_seconds = tolerance_seconds
        self._is_used = is_used
        self._clock = clock

    def check(self, shown: Shown) -> Nonce:
        """Return what may not be used again: its id and time; raises ``NotProven``."""
        headers = dict(shown.webhook)
        if not headers:
            raise NotProven(Denial.MISSING)
        try:
            at = math.floor(float(headers.get("webhook-timestamp", "")))
        except (ValueError, OverflowError):
            raise NotProven(Denial.SIGNATURE) from None
        if abs(self._clock() - at) > self._tolerance_seconds:
            raise NotProven(Denial.WINDOW)
        body = shown.body()
        if not any(_verifies(webhook, body, headers) for webhook in self._webhooks):
            raise NotProven(Denial.SIGNATURE)
        nonce = (self._name, headers["webhook-id"], at)
        if self._is_used(nonce):
            raise NotProven(Denial.REPLAYED)
        return nonce


class Nonces:
    """What was used within the time in which it could be used again; thread-safe.

    Only what was signed properly gets in, so that nobody else can push anything out.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._used: OrderedDict[Nonce, float] = OrderedDict()

    def is_used(self, nonce: Nonce) -> bool:
        """Return whether it was used before."""
        with self._lock:
            return nonce in self._used

    def use(self, nonces: Sequence[Nonce]) -> None:
        """Note that they were used."""
        now = self._clock()
        with self._lock:
            self._used.update(dict.fromkeys(nonces, now))
            # A time may be as far ahead as behind.
            oldest = now - 2 * WEBHOOK_TOLERANCE_SECONDS
            while self._used and (
                len(self._used) > _MOST_NONCES or next(iter(self._used.values())) < oldest
            ):
                self._used.popitem(last=False)


def _webhook(secret: str) -> Webhook:
    try:
        # The library passes over what is no base64, and adds padding itself.
        digits = secret.removeprefix("whsec_").rstrip("=")
        base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        # Not from what was raised, which might tell of the secret.
        raise ValueError("must have secrets in base64, with or without whsec_") from None


def _verifies(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True
