"""SQLite's write-ahead log as a file, read without SQLite: what it holds, and where it is broken.

SQLite drops everything behind the first frame whose checksum fails, without a word. After a
kill that is only what was never committed; when committed frames follow, the file was damaged.
Format: "The Write-Ahead Log" in https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lambda_builder.journal.schema import PAGE_SIZE

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_SIZE
_MAGIC = 0x377F0682
_WORD = 0xFFFFFFFF

Checksum = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """One page as it was written."""

    page: int
    commits: bool
    """It ends a transaction."""
    offset: int
    """Where the page's bytes begin in the log."""
    intact: bool
    """Its checksum is right."""
    reached: bool
    """SQLite gets as far as this: all before it are intact, too."""


def frames(log: Path) -> Iterator[Frame]:
    """Read the frames of the log's present generation, the broken ones included.

    Raises ``OSError``; a missing or empty log has none.
    """
    if not log.exists():
        return
    with log.open("rb") as file:
        yield from _frames(file)


def breaks_off_early(log: Path) -> bool:
    """Whether SQLite would drop frames that were committed; raises ``OSError``."""
    return any(frame.intact and frame.commits and not frame.reached for frame in frames(log))


def _frames(file: BinaryIO) -> Iterator[Frame]:
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return
    sound = int.from_bytes(header[:4]) & ~1 == _MAGIC
    # The last bit says in which byte order the checksums are; a machine writes in its own.
    order = (">" if header[3] & 1 else "<") if sound else "="
    sound = sound and _checksum(header[:24], (0, 0), order) == _stored(header, 24)
    previous = _stored(header, 24) if sound else None
    salts = header[16:24] if sound else None
    reached = sound
    while len(frame := file.read(FRAME_BYTES)) == FRAME_BYTES:
        salts = salts or frame[8:16]
        if frame[8:16] != salts:  # broken, or left from an earlier generation
            previous, reached = None, False
            continue
        # Each checksum goes on from the one before, as it is stored: so a broken frame is told
        # from those behind it. What follows an unreadable header has only its salts to show.
        stored = _stored(frame, 16)
        intact = previous is None or _of_frame(frame, previous, order) == stored
        reached = reached and intact
        page, size = struct.unpack_from(">2I", frame)
        yield Frame(page, size > 0, file.tell() - PAGE_SIZE, intact and page > 0, reached)
        previous = stored


def _stored(header: bytes, offset: int) -> Checksum:
    first, second = struct.unpack_from(">2I", header, offset)
    return first, second


def _of_frame(frame: bytes, previous: Checksum, order: str) -> Checksum:
    return _checksum(frame[FRAME_HEADER_BYTES:], _checksum(frame[:8], previous, order), order)


def _checksum(data: bytes, start: Checksum, order: str) -> Checksum:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
