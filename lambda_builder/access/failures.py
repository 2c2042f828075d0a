"""Failed tries, counted by address: whoever guesses is slowed down, and nobody else."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections.abc import Callable

from lambda_builder.access.tables import IdleTable

MOST = 10
"""Failed tries of one address a minute."""
_WINDOW_SECONDS = 60.0
_MOST_ADDRESSES = 20_000
"""Counted at once; beyond it those that are new are counted together."""
_IPV6_PREFIX = 64
"""One customer of a provider has at least so many addresses as share this."""

_Window = tuple[float, int]
"""When it began, on the clock, and how many tries failed in it."""


class FailedTries:
    """Counts failed tries of the last minute; thread-safe."""

    def __init__(
        self,
        *,
        most_addresses: int = _MOST_ADDRESSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` is in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: IdleTable[_Window] = IdleTable(most_addresses, _is_over)
        self._together: _Window = (-math.inf, 0)

    def note(self, address: str) -> int:
        """Count one; return the seconds that the address has to wait, 0 where it need not."""
        name = _network(address)
        with self._lock:
            now = self._clock()
            window = self._windows.get(name)
            if window is None or _is_over(window, now):
                window = (now, 0)
            window = (window[0], window[1] + 1)
            if not self._windows.put(name, window, now):
                known = (now, 0) if _is_over(self._together, now) else self._together
                window = self._together = (known[0], known[1] + 1)
        begun, count = window
        return 0 if count <= MOST else max(1, math.ceil(begun + _WINDOW_SECONDS - now))


def _is_over(window: _Window, now: float) -> bool:
    return window[0] + _WINDOW_SECONDS <= now


def _network(address: str) -> str:
    """Return what is counted as one: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return address
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, _IPV6_PREFIX), strict=False))
