"""KeptPages: a page that many look at is made once a second, not once for each of them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cachetools import TTLCache

from lambda_builder import __version__

_SECONDS = 1.0
_MOST_BYTES = 16 * 1024 * 1024
_FRAME_BYTES = 64 * 1024
"""What any page takes."""
_BYTES_OF_ONE = 6
"""For each that is shown: in memory as it is, and in HTML, which is longer."""


@dataclass(slots=True)
class KeptPage:
    """What a page shows, what tells it from what it showed before, and its HTML once needed."""

    tag: str
    size: int
    """Bytes that it takes in memory, about, its HTML included."""
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
    """Keeps pages for a second, as many as memory is meant for them; thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._kept: TTLCache[Hashable, KeptPage] = TTLCache(
            _MOST_BYTES, _SECONDS, timer=clock, getsizeof=lambda page: page.size
        )

    def known(self, key: Hashable) -> KeptPage | None:
        """Return the page of ``key``, if it was put in the last second."""
        with self._lock:
            return self._kept.get(key)

    def put(self, key: Hashable, content: dict[str, Any]) -> KeptPage:
        """Return a page that shows ``content``, and keep it if it is not too large.

        The tag is of that, so it must not change with the time alone; and of the version, which
        may show the same otherwise.
        """
        shown = repr((__version__, content)).encode("utf-8", "replace")
        tag = hashlib.sha256(shown).hexdigest()[:20]
        page = KeptPage(tag, _FRAME_BYTES + _BYTES_OF_ONE * len(shown), content)
        with self._lock, suppress(ValueError):  # that of one larger than the whole cache
            self._kept[key] = page
        return page
