"""Directory: who is known by now; ``AUTH_FILE`` is read again when it changes.

Kubernetes changes mounted Secrets and ConfigMaps by a link that leads elsewhere: what a path leads
to is looked at, each time anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from lambda_builder.access import auth_file
from lambda_builder.access.identities import Known, Reader, files_of
from lambda_builder.access.signatures import Nonces
from lambda_builder.errors import BootError
from lambda_builder.threads import repeating

LOOK_SECONDS = 1.0
"""How soon it is seen that a file has changed."""

_Version = tuple[int, int, int, int]
"""What tells one content of a file from another, without reading it."""


class Directory:
    """Knows who may be known; thread-safe, starts and stops as ``Background``."""

    def __init__(self, path: Path, *, waiting: int = 1) -> None:
        """Read the file; raises ``BootError`` with all that is wrong with it.

        At most ``waiting`` requests at a time wait for the keys of issuers.
        """
        self.nonces = Nonces()
        self._path = path
        self._reader = Reader(self.nonces, threading.BoundedSemaphore(waiting))
        self._seen: Mapping[Path, _Version | None] = {}
        self._known = self._read()
        self._thread = repeating("auth-file", LOOK_SECONDS, self.look)

    @property
    def known(self) -> Known:
        """What is known now: a value that does not change any more."""
        return self._known

    def start(self) -> None:
        """Begin to look for changes, and have the keys of issuers fetched before any is needed."""
        self._fetch_keys()
        self._thread.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is alive after ``timeout`` seconds."""
        return self._thread.stop(timeout)

    def look(self) -> None:
        """Read the file again where it, or one that it names, has changed.

        A broken version is logged, and what was known stays.
        """
        if all(_version(path) == seen for path, seen in self._seen.items()):
            return
        try:
            self._known = self._read()
        except BootError as error:
            structlog.get_logger().error("auth_file_broken", problems=str(error))
            return
        structlog.get_logger().info("auth_file_read", path=str(self._path))
        self._fetch_keys()

    def _fetch_keys(self) -> None:
        for issuer in self._known.issuers.values():
            if issuer.is_new:
                issuer.refresh()

    def _read(self) -> Known:
        # The versions before the contents: what changes in between is then read once more.
        self._seen = _versions({self._path, *self._seen})
        content = auth_file.read(self._path)
        self._seen = {self._path: self._seen[self._path], **_versions(files_of(content))}
        try:
            return self._reader.known(content)
        except ValueError as error:
            raise auth_file.broken(self._path, str(error).splitlines()) from error


def _versions(paths: Iterable[Path]) -> dict[Path, _Version | None]:
    return {path: _version(path) for path in paths}


def _version(path: Path) -> _Version | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
