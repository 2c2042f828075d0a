"""A directory on a disk that may lose power: what is surely there, and what may be.

What was written to a file is surely there after a sync of the file, and its name after one of the
directory (fsync(2)). Of what is not yet synced any part may be there, in units of a sector.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from tests.crash.recording import Create, Rename, Step, Sync, Told, Truncate, Unlink, Write

SECTOR = 512

Files = dict[str, bytes]
Keep = Callable[[int], bool]
"""Says of each unsynced change, by its place among them, whether it got to the disk."""


class Disk:
    """Follows the steps of a recording; makes images of what a power cut would leave."""

    def __init__(self, before: Mapping[str, bytes], lots: random.Random) -> None:
        """``lots`` decides what a failed sync of a file cost: the system forgets what it could not
        write. Of names it forgets none: they are in the file system's own log.
        """
        self._lots = lots
        self._names = {name: number for number, name in enumerate(before)}
        self._contents = {number: bytearray(data) for number, data in enumerate(before.values())}
        self.pending: list[Write | Truncate | Create | Rename | Unlink] = []
        """Changes that are not synced, in their order."""

    def follow(self, step: Step) -> None:
        """Take ``step``."""
        if isinstance(step, Told):
            return
        if not isinstance(step, Sync):
            self.pending.append(step)
            return
        later = []
        for change in self.pending:
            if not _belongs(change, step.file) or (step.failed and step.file is None):
                later.append(change)
            elif not step.failed or self._lots.random() < 0.5:
                _change(self._names, self._contents, change)
        self.pending = later

    def image(self, keep: Keep, torn: random.Random | None = None) -> Files:
        """Return the files with those pending changes that ``keep`` wants.

        With ``torn`` some of the writes are kept in part.
        """
        names, contents = dict(self._names), dict(self._contents)
        copied: set[int] = set()
        for number, change in enumerate(self.pending):
            if not keep(number):
                continue
            if isinstance(change, Write | Truncate) and change.file not in copied:
                contents[change.file] = bytearray(contents.get(change.file, b""))
                copied.add(change.file)
            if isinstance(change, Write) and torn is not None and torn.random() < 0.3:
                for part in _sectors(change):
                    if torn.random() < 0.5:
                        _change(names, contents, part)
            else:
                _change(names, contents, change)
        return {name: bytes(contents.get(file, b"")) for name, file in names.items()}


def _belongs(change: Write | Truncate | Create | Rename | Unlink, file: int | None) -> bool:
    if isinstance(change, Write | Truncate):
        return change.file == file
    return file is None


def _change(
    names: dict[str, int],
    contents: dict[int, bytearray],
    change: Write | Truncate | Create | Rename | Unlink,
) -> None:
    match change:
        case Create(name, file):
            names[name] = file
        case Unlink(name):
            names.pop(name, None)
        case Rename(old, new):
            if old in names:
                names[new] = names.pop(old)
        case Truncate(file, size):
            _resize(contents.setdefault(file, bytearray()), size)
        case Write(file, offset, data):
            content = contents.setdefault(file, bytearray())
            if len(content) < offset:
                _resize(content, offset)
            content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _sectors(write: Write) -> list[Write]:
    """Cut ``write`` where the disk's sectors end."""
    parts = []
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        parts.append(
            Write(write.file, start, write.data[start - write.offset : stop - write.offset])
        )
        start = stop
    return parts
