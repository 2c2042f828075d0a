"""How many builds may be asked for: ``TENANT_RATE`` for each tenant, ``RATE`` for all together.

By the generic cell rate algorithm (ITU-T I.371): of each tenant one number is kept, the time at
which it may send its whole burst again. What the `limits` library keeps in memory has no bound.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from lambda_builder.access.tables import IdleTable
from lambda_builder.builds import BuildRequest
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.settings import Rate
from lambda_builder.telemetry.metrics import Metrics

_MOST_TENANTS = 100_000
"""Whose times are kept at once, in some 18 MB; beyond it those that are new share one."""
_ROUNDING_SECONDS = 1e-7
"""Sums of floating-point numbers are off by less."""
_SERVICE = "service"
_TENANT = "tenant"


class Buckets:
    """Times at which names may send their whole burst again; not thread-safe."""

    def __init__(self, rate: Rate, maximum: int) -> None:
        self.rate = rate
        self._full_at: IdleTable[float] = IdleTable(maximum, lambda full_at, now: full_at <= now)
        self._others_full_at = 0.0

    def wait(self, name: str, count: int, now: float) -> float:
        """Return the seconds until ``count`` may come; 0 where they may now.

        More than the burst may come once all of it may.
        """
        room = max(0.0, self.rate.seconds - count / self.rate.per_second)
        return max(0.0, self._of(name) - now - room - _ROUNDING_SECONDS)

    def take(self, name: str, count: int, now: float) -> None:
        """Note that ``count`` came."""
        full_at = max(self._of(name), now) + count / self.rate.per_second
        if not self._full_at.put(name, full_at, now):
            self._others_full_at = full_at

    def left(self, name: str, now: float) -> tuple[int, float]:
        """Return how many may come now, and in how many seconds the whole burst may."""
        seconds = max(0.0, self._of(name) - now - _ROUNDING_SECONDS)
        left = self.rate.burst - seconds * self.rate.per_second
        return max(0, math.floor(left)), seconds

    def _of(self, name: str) -> float:
        found = self._full_at.get(name)
        if found is None:
            found = self._others_full_at if self._full_at.is_full else 0.0
        return found


class Limits:
    """What may be asked for at which rate; thread-safe. Only builds that are new count."""

    def __init__(
        self,
        *,
        tenant_rate: Rate | None,
        rate: Rate | None,
        metrics: Metrics,
        most_tenants: int = _MOST_TENANTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` is in seconds."""
        self._tenants = None if tenant_rate is None else Buckets(tenant_rate, most_tenants)
        self._service = None if rate is None else Buckets(rate, 1)
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()

    @property
    def are_set(self) -> bool:
        """Whether there is any."""
        return self._tenants is not None or self._service is not None

    def admit(self, requests: Sequence[BuildRequest]) -> None:
        """Count builds that are about to be accepted, all or none.

        Raises ``Refused``: ``tenant_limit`` or ``rate_limit``.
        """
        counts = Counter(request.third_party_id for request in requests)
        with self._lock:
            now = self._clock()
            self._judge(counts, now)
            for buckets, name, count in self._asked(counts):
                buckets.take(name, count, now)

    def headers(self, tenants: Collection[str]) -> list[tuple[str, str]]:
        """Return the ``RateLimit`` headers of an answer to events of these tenants, if any.

        draft-ietf-httpapi-ratelimit-headers-10: ``q`` is how many may come at once and ``w`` in how
        many seconds as many again; ``r`` how many still may, and ``t`` when all of them may again.
        """
        if not self.are_set:
            return []
        with self._lock:
            now = self._clock()
            left = [
                (name, min(buckets.left(each, now) for each in names))
                for buckets, name, names in (
                    (self._tenants, _TENANT, tenants),
                    (self._service, _SERVICE, (_SERVICE,)),
                )
                if buckets is not None and names
            ]
        found = [("RateLimit-Policy", ", ".join(self._policies()))]
        if left:
            states = (f'"{name}";r={count};t={math.ceil(s)}' for name, (count, s) in left)
            found.append(("RateLimit", ", ".join(states)))
        return found

    def _asked(self, counts: Counter[str]) -> list[tuple[Buckets, str, int]]:
        asked = []
        if self._tenants is not None:
            asked += [(self._tenants, tenant, count) for tenant, count in counts.items()]
        if self._service is not None:
            asked.append((self._service, _SERVICE, counts.total()))
        return asked

    def _judge(self, counts: Counter[str], now: float) -> None:
        for buckets, name, count in self._asked(counts):
            seconds = buckets.wait(name, count, now)
            if seconds <= 0:
                continue
            is_tenant = buckets is self._tenants
            self._metrics.rate_limited.labels(_TENANT if is_tenant else _SERVICE).inc()
            whose = "of this tenant" if is_tenant else "of all tenants together"
            raise Refused(
                RefusalCode.TENANT_LIMIT if is_tenant else RefusalCode.RATE_LIMIT,
                f"too many events {whose}, please retry later "
                f"({buckets.rate.per_second:g} a second, {buckets.rate.burst} at once)",
                retry_after=math.ceil(seconds),
            )

    def _policies(self) -> list[str]:
        known = ((self._tenants, _TENANT), (self._service, _SERVICE))
        return [
            f'"{name}";q={buckets.rate.burst};w={max(1, math.ceil(buckets.rate.seconds))}'
            for buckets, name in known
            if buckets is not None
        ]
