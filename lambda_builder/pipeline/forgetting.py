"""A cache of keys that says which of them it lets go, so that nothing else outlives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cachetools import TTLCache


class Ended(TTLCache[str, None]):
    """Lets a key go when its time has passed, and the oldest beyond ``maxsize``."""

    def __init__(
        self, maxsize: int, ttl: float, timer: Callable[[], float], gone: Callable[[str], None]
    ) -> None:
        super().__init__(maxsize, ttl, timer)
        self._gone = gone

    def expire(self, time: float | None = None) -> Any:
        expired = super().expire(time)
        for key, _none in expired:
            self._gone(key)
        return expired

    def popitem(self) -> tuple[str, None]:
        key, none = super().popitem()
        self._gone(key)
        return key, none
