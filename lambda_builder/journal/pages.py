"""The pages of a broken database file, read without SQLite.

Works where SQLite refuses the file: without a header, with torn or overwritten pages in the
middle, with a log that breaks off. What stands on a page that can be read is found; what does not
is left out. Format: https://www.sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lambda_builder.journal import wal
from lambda_builder.journal.schema import PAGE_SIZE

Value = None | int | float | str | bytes

_FIRST_PAGE_HEADER = 100
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_PAGE_HEADER = {_TABLE_LEAF: 8, _INDEX_LEAF: 8, _INDEX_INNER: 12}
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table, or one entry of an index."""

    rowid: int | None
    """None for an index entry."""
    values: tuple[Value, ...]


class Pages:
    """A database file and its write-ahead log; not thread-safe."""

    def __init__(self, database: BinaryIO, log: BinaryIO | None, log_path: Path) -> None:
        self._database = database
        self._log = log
        self._count = -(-database.seek(0, 2) // PAGE_SIZE)
        self._newer: dict[int, int] = {}
        if log is not None:
            self._overlay(log_path)
        self.unreadable = 0
        """Rows and entries that could not be read so far."""

    def records(self) -> Iterator[Record]:
        """Read every row and index entry that can be read; raises ``OSError``."""
        for number in range(1, self._count + 1):
            yield from self._records_of(number)

    def _overlay(self, log_path: Path) -> None:
        """Let committed pages of the log stand in for those of the file."""
        waiting: dict[int, int] = {}
        for frame in wal.frames(log_path):
            if frame.intact:
                waiting[frame.page] = frame.offset
            if frame.commits:
                self._newer.update(waiting)
                waiting = {}
        self._count = max(self._count, *self._newer, 0)

    def _page(self, number: int) -> bytes:
        offset = self._newer.get(number)
        if offset is not None and self._log is not None:
            self._log.seek(offset)
            return self._log.read(PAGE_SIZE)
        self._database.seek((number - 1) * PAGE_SIZE)
        return self._database.read(PAGE_SIZE).ljust(PAGE_SIZE, b"\0")

    def _records_of(self, number: int) -> Iterator[Record]:
        page = self._page(number)
        base = _FIRST_PAGE_HEADER if number == 1 else 0
        kind = page[base]
        if kind not in _PAGE_HEADER:
            return
        start = base + _PAGE_HEADER[kind]
        count = int.from_bytes(page[base + 3 : base + 5])
        if start + 2 * count > PAGE_SIZE:
            return
        for pointer in struct.unpack_from(f">{count}H", page, start):
            try:
                yield self._record(page, kind, pointer)
            except (IndexError, ValueError, struct.error):
                self.unreadable += 1

    def _record(self, page: bytes, kind: int, pointer: int) -> Record:
        offset = pointer + 4 if kind == _INDEX_INNER else pointer
        size, offset = _varint(page, offset)
        rowid = None
        if kind == _TABLE_LEAF:
            rowid, offset = _varint(page, offset)
        if size > self._count * PAGE_SIZE:
            raise ValueError("the payload would be larger than the file")
        return Record(rowid, _values(self._payload(page, kind, offset, size)))

    def _payload(self, page: bytes, kind: int, offset: int, size: int) -> bytes:
        most = PAGE_SIZE - 35 if kind == _TABLE_LEAF else (PAGE_SIZE - 12) * 64 // 255 - 23
        if size <= most:
            local = size
        else:
            least = (PAGE_SIZE - 12) * 32 // 255 - 23
            local = least + (size - least) % (PAGE_SIZE - 4)
            local = local if local <= most else least
        parts = [page[offset : offset + local]]
        missing = size - local
        following = int.from_bytes(page[offset + local : offset + local + 4]) if missing else 0
        while missing > 0:
            if not 1 < following <= self._count:
                raise ValueError("the overflow chain is broken")
            more = self._page(following)
            parts.append(more[4 : 4 + missing])
            missing -= len(parts[-1])
            following = int.from_bytes(more[:4])
        payload = b"".join(parts)
        if len(payload) != size:
            raise ValueError("the payload is cut short")
        return payload


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        byte = data[offset + index]
        if index == 8:
            return value << 8 | byte, offset + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset + index + 1
    raise ValueError("unreachable")


def _values(payload: bytes) -> tuple[Value, ...]:
    header_end, offset = _varint(payload, 0)
    values = []
    body = header_end
    while offset < header_end:
        kind, offset = _varint(payload, offset)
        value, body = _value(payload, kind, body)
        values.append(value)
    if offset != header_end or body != len(payload):
        raise ValueError("the record's header disagrees with its length")
    return tuple(values)


def _value(payload: bytes, kind: int, start: int) -> tuple[Value, int]:
    if kind == 0:
        return None, start
    if kind in _INTEGER_BYTES:
        end = start + _INTEGER_BYTES[kind]
        return int.from_bytes(payload[start:end], signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", payload, start)[0], start + 8
    if kind in (8, 9):
        return kind - 8, start
    if kind < 12:
        raise ValueError("a reserved type")
    end = start + (kind - 12) // 2
    raw = payload[start:end]
    return (raw.decode("utf-8"), end) if kind % 2 else (raw, end)
