"""One process per journal: a lock file that says who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path

from lambda_builder.builds import rfc3339
from lambda_builder.errors import BootError

_POLL_SECONDS = 0.05


class JournalLock:
    """An exclusive ``flock`` that ends with the process; children started by exec lack it.

    The file stays behind when the lock is released: removing it would let two processes lock
    two files of one name.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_name(journal.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self, patience: float) -> None:
        """Take the lock, waiting ``patience`` seconds for a holder that is about to end.

        Raises ``BootError`` that names the holder, and ``OSError`` where the file cannot be made.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock(descriptor, time.monotonic() + patience)
            self._sign(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless twice, or before ``acquire``."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _lock(self, descriptor: int, deadline: float) -> None:
        pause = threading.Event()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BootError(self._held(descriptor)) from None
                pause.wait(_POLL_SECONDS)
            else:
                return

    def _sign(self, descriptor: int) -> None:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": rfc3339(time.time()),
        }
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except OSError:
            return  # a full disk: the lock holds, only its holder's name is missing

    def _held(self, descriptor: int) -> str:
        try:
            holder = json.loads(os.pread(descriptor, 4096, 0))
            name = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            name = "another process"
        return (
            f"journal {self._journal} is held by {name}; "
            "two services cannot share one journal: stop the other, or set another JOURNAL_PATH"
        )
