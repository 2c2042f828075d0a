"""The keys of issuers, kept; one that does not answer costs nobody else anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from joserfc.jwk import Key

from lambda_builder.access.fetching import TIMEOUT_SECONDS, KeysUnavailable
from lambda_builder.access.limits import Buckets
from lambda_builder.access.proofs import Denial, NotProven
from lambda_builder.settings import Rate

_FRESH_SECONDS = 600.0
"""After so long keys are asked for again, so that those withdrawn are not accepted for ever."""
ASKING = Rate(0.1, 5)
"""How often an issuer is asked: everybody can make up a token with a key that is not known."""


class IssuerKeys:
    """One issuer's keys, fetched when they are needed; thread-safe.

    Only tokens with keys that are not known wait for an answer, no longer than the issuer has for
    it, and no more of them at a time than ``waiting`` lets.
    """

    def __init__(
        self,
        issuer: str,
        fetch: Callable[[], Sequence[Key]],
        *,
        waiting: threading.Semaphore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``fetch`` raises ``KeysUnavailable``; ``waiting`` may be shared with other issuers."""
        self._issuer = issuer
        self._fetch = fetch
        self._waiting = waiting
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Sequence[Key] | None = None
        self._fetched_at = 0.0
        self._has_failed = False
        self._fetching: threading.Event | None = None
        self._asked = Buckets(ASKING, 1)

    @property
    def is_new(self) -> bool:
        """Whether it was never asked."""
        with self._lock:
            return self._keys is None and not self._has_failed and self._fetching is None

    def find(self, kid: str | None) -> Sequence[Key]:
        """Return the keys that a token with this key id may be signed with.

        Raises ``NotProven`` (``ISSUER``) where that cannot be known now.
        """
        with self._lock:
            keys, is_stale = self._keys, self._clock() - self._fetched_at > _FRESH_SECONDS
        if keys is not None and (known := with_id(keys, kid)):
            if is_stale:
                self.refresh()
            return known
        self._wait()
        with self._lock:
            keys, has_failed = self._keys, self._has_failed
        found = () if keys is None else with_id(keys, kid)
        if not found and (keys is None or has_failed):
            raise NotProven(Denial.ISSUER)
        return found

    def refresh(self) -> threading.Event | None:
        """Have the keys fetched, unless that was done too often; returns what tells the end."""
        with self._lock:
            if self._fetching is not None:
                return self._fetching
            now = self._clock()
            if self._asked.wait(self._issuer, 1, now) > 0:
                return None
            self._asked.take(self._issuer, 1, now)
            done = self._fetching = threading.Event()
        threading.Thread(target=self._run, args=(done,), name="issuer-keys", daemon=True).start()
        return done

    def _wait(self) -> None:
        done = self.refresh()
        if done is None:
            return
        if not self._waiting.acquire(blocking=False):
            raise NotProven(Denial.ISSUER)
        try:
            if not done.wait(TIMEOUT_SECONDS):
                raise NotProven(Denial.ISSUER)
        finally:
            self._waiting.release()

    def _run(self, done: threading.Event) -> None:
        try:
            keys = self._fetch()
        except KeysUnavailable as error:
            self._failed(str(error))
        except Exception:
            self._failed("it crashed")
            raise
        else:
            with self._lock:
                was_away, self._has_failed = self._has_failed, False
                self._keys, self._fetched_at = keys, self._clock()
            if was_away:
                structlog.get_logger().info("issuer_available", issuer=self._issuer)
        finally:
            with self._lock:
                self._fetching = None
            done.set()

    def _failed(self, reason: str) -> None:
        with self._lock:
            was_away, self._has_failed = self._has_failed, True
        if not was_away:
            structlog.get_logger().error(
                "issuer_unavailable", issuer=self._issuer, reason=reason[:500]
            )


def with_id(keys: Sequence[Key], kid: str | None) -> Sequence[Key]:
    """Return the keys of that id; all of them where a token names none (RFC 7515, 4.1.4)."""
    return keys if kid is None else [key for key in keys if key.kid == kid]
