"""Copies a journal that nobody uses into another, as from a file to a database that is shared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from lambda_builder.errors import BootError
from lambda_builder.journal.kept import COLUMNS, Source, Target
from lambda_builder.journal.sqlite.copying import reading_file, writing_file

Item = TypeVar("Item")

_FILE = "sqlite://"
_DATABASE = ("postgresql://", "postgres://")
_PAGE_ROWS = 200


def copy(source: str, target: str, *, password_file: Path | None = None) -> dict[str, int]:
    """Copy all that is open or kept; returns how many of each kind.

    ``source`` and ``target`` are ``sqlite:///path/of/the/file`` or ``postgresql://`` URLs, whose
    password may be in ``password_file``. The source stays as it is; the target gets all or nothing.
    Raises ``BootError`` where one of them is in use, the source is not there, the target holds
    something, or either cannot be used; the message says what to do.
    """
    counts = {"builds": 0, "open": 0}
    with _source(source, password_file) as reading, _target(target, password_file) as writing:
        for builds in _pages(reading.builds()):
            writing.add_builds(builds)
            counts["builds"] += len(builds)
            counts["open"] += sum(build.result.state.waits for build in builds)
        for table in COLUMNS:
            counts[table] = 0
            for rows in _pages(reading.rows(table)):
                writing.add_rows(table, rows)
                counts[table] += len(rows)
    return counts


def _source(url: str, password_file: Path | None) -> AbstractContextManager[Source]:
    if url.startswith(_FILE):
        return reading_file(Path(url.removeprefix(_FILE)))
    _check(url)
    from lambda_builder.journal.postgres.copying import reading_database  # noqa: PLC0415 - extra

    return reading_database(url, password_file)


def _target(url: str, password_file: Path | None) -> AbstractContextManager[Target]:
    if url.startswith(_FILE):
        return writing_file(Path(url.removeprefix(_FILE)))
    _check(url)
    from lambda_builder.journal.postgres.copying import writing_database  # noqa: PLC0415 - extra

    return writing_database(url, password_file)


def _check(url: str) -> None:
    if not url.startswith(_DATABASE):
        raise BootError("a journal to copy is sqlite:///path or postgresql://host/database")


def _pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while page := list(islice(rest, _PAGE_ROWS)):
        yield page
