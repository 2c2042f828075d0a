"""Opens a disk image as the service would, and reads all that is in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from structlog.testing import capture_logs

from lambda_builder.journal import SqliteJournal
from tests.crash.disk import Files
from tests.journals import make_request, opened, raw

NAME = "journal.sqlite3"


class Judge(Protocol):
    """Knows what must be in a journal."""

    def follow(self, words: Sequence[Any]) -> None:
        """Take in what was asked for, or answered."""

    def faults(self, journal: SqliteJournal) -> Iterator[str]:
        """Say what is wrong with what is in ``journal``."""


def faults(files: Files, judge: Judge, place: Path, *, damaged: bool) -> list[str]:
    """Say what is wrong with the journal in ``files``; ``place`` is made for it and removed.

    With ``damaged`` the file may have to be rebuilt.
    """
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    try:
        with capture_logs():
            return list(_faults(place / NAME, judge, damaged=damaged))
    finally:
        shutil.rmtree(place)


def _faults(path: Path, judge: Judge, *, damaged: bool) -> Iterator[str]:
    with opened(path, keep_seconds=1e12, keep_max=1_000_000) as journal:
        yield from judge.faults(journal)
        if journal.stats()["moved_aside"] and not damaged:
            yield "it was taken for damaged"
        one_more = make_request(123_456_789)
        journal.record([one_more])
        if journal.find(one_more.event_hash) is None:
            yield "it takes no more builds"
    with raw(path) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            yield "the file is not whole"
