"""KeptPages: a page that many look at is made once a second, not once for each of them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from cachetools import TTLCache

from lambda_builder import __version__

_SECONDS = 1.0
_MOST = 128


@dataclass(slots=True)
class KeptPage:
    """What a page shows, what tells it from what it showed before, and its HTML once needed."""

    tag: str
    _content: dict[str, Any]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _body: bytes | None = None

    def body(self, make: Callable[[dict[str, Any]], bytes]) -> bytes:
        """Return the HTML, made of the content when it is first asked for."""
        with self._lock:
            if self._body is None:
                self._body = make(self._content)
            return self._body


class KeptPages:
    """Keeps pages for a second; thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._kept: TTLCache[Hashable, KeptPage] = TTLCache(_MOST, _SECONDS, timer=clock)

    def known(self, key: Hashable) -> KeptPage | None:
        """Return the page of ``key``, if it was put in the last second."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: Hashable, content: dict[str, Any]) -> KeptPage:
        """Keep a page that shows ``content``.

        The tag is of that, so it must not change with the time alone; and of the version, which
        may show the same otherwise.
        """
        shown = repr((__version__, content)).encode("utf-8", "replace")
        tag = hashlib.sha256(shown).hexdigest()[:20]
        page = KeptPage(tag, content)
        with self._lock:
            self._kept[key] = page
        return page
