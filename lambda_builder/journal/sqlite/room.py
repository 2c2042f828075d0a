"""Who may use how much of the volume, so that what was accepted can always be brought to its end.

A quarter of it, at most 16 MiB, is kept for attempts, outcomes and deliveries; a quarter, at most
64 MiB, for events that go out. New builds get the rest.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_RESERVE_MAX = 16 * 1024 * 1024
_OUTBOX_MAX = 64 * 1024 * 1024
_PLENTY = 1024 * 1024 * 1024
_PLENTY_SECONDS = 0.1
"""With so many bytes free the system is not asked again for so long."""


class Room:
    """The volume that a directory is on; sizes are in bytes.

    Where the system cannot tell, there is room: then the write itself shows what is wrong.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._quarter: int | None = None
        self._plenty = 0
        self._plenty_until = 0.0

    @property
    def free(self) -> int:
        """What may still be written to the volume."""
        now = time.monotonic()
        if now < self._plenty_until:
            return self._plenty
        try:
            space = os.statvfs(self._directory)
        except OSError:
            return 1 << 62
        free = space.f_bavail * space.f_frsize
        if free >= _PLENTY:
            self._plenty, self._plenty_until = free, now + _PLENTY_SECONDS
        return free

    @property
    def reserve(self) -> int:
        """What new builds must leave free."""
        return min(_RESERVE_MAX, self._share())

    @property
    def outbox(self) -> int:
        """What events that go out may take, dead letters not counted."""
        return min(_OUTBOX_MAX, self._share())

    def _share(self) -> int:
        if self._quarter is None:
            try:
                space = os.statvfs(self._directory)
            except OSError:
                return _OUTBOX_MAX
            self._quarter = space.f_blocks * space.f_frsize // 4
        return self._quarter
