"""A broken write-ahead log is told from one that merely ends early."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from lambda_builder.journal import wal
from lambda_builder.journal.schema import PAGE_SIZE, connect_writer


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a database that was killed after five commits."""
    path = tmp_path / "live.sqlite3"
    with contextlib.closing(connect_writer(path)) as connection:
        for number in range(5):
            connection.execute(
                "INSERT INTO probe (id, ballast) VALUES (?, randomblob(9000))", (number,)
            )
        copy = tmp_path / "killed.sqlite3"
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    return Path(f"{copy}-wal")


def overwrite(path: Path, offset: int, data: bytes = b"\xa5" * 64) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def frame_offset(number: int) -> int:
    return wal.HEADER_BYTES + number * wal.FRAME_BYTES


def test_every_frame_of_a_sound_log_is_intact_and_reached(log):
    frames = list(wal.frames(log))

    assert len(frames) == (log.stat().st_size - wal.HEADER_BYTES) // wal.FRAME_BYTES
    assert all(frame.intact and frame.reached for frame in frames)
    assert sum(frame.commits for frame in frames) >= 5
    assert not wal.breaks_off_early(log)


def test_our_frames_are_those_that_sqlite_finds(log):
    ours = len(list(wal.frames(log)))

    with contextlib.closing(sqlite3.connect(str(log)[: -len("-wal")])) as connection:
        ((_, theirs, _),) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    assert ours == theirs


@pytest.mark.parametrize("inside", [0, 4, 8, 16, wal.FRAME_HEADER_BYTES, PAGE_SIZE // 2])
def test_a_broken_frame_costs_itself_and_is_noticed(log, inside):
    before = list(wal.frames(log))

    overwrite(log, frame_offset(3) + inside, b"\xa5" * 8)

    after = {frame.offset: frame for frame in wal.frames(log) if frame.intact}
    lost = [frame.offset for frame in before if frame.offset not in after]
    assert before[3].offset in lost
    assert len(lost) <= 2, "a broken checksum costs the frame behind it, too; nothing else may go"
    assert wal.breaks_off_early(log)


def test_a_broken_header_is_noticed_and_costs_nothing(log):
    before = [frame.offset for frame in wal.frames(log)]

    overwrite(log, 0, b"\xa5" * wal.HEADER_BYTES)

    assert [frame.offset for frame in wal.frames(log) if frame.intact] == before
    assert wal.breaks_off_early(log)


@pytest.mark.parametrize("missing", [1, 100, wal.FRAME_BYTES - 1, wal.FRAME_BYTES])
def test_a_log_that_was_cut_short_by_a_kill_is_sound(log, missing):
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.truncate(size - missing)

    assert not wal.breaks_off_early(log)


def test_a_torn_last_frame_is_no_damage(log):
    overwrite(log, log.stat().st_size - 100)

    assert not wal.breaks_off_early(log)


@pytest.mark.parametrize("content", [None, b"", b"short", b"\0" * 32, b"\0" * 10_000])
def test_a_log_without_frames_is_sound(tmp_path, content):
    path = tmp_path / "empty-wal"
    if content is not None:
        path.write_bytes(content)

    assert not wal.breaks_off_early(path)


def test_frames_of_an_earlier_generation_do_not_count(tmp_path):
    path = tmp_path / "journal.sqlite3"
    insert: Callable[[int], tuple[str, tuple[int]]] = lambda size: (  # noqa: E731
        "INSERT INTO probe (ballast) VALUES (randomblob(?))",
        (size,),
    )
    with contextlib.closing(connect_writer(path)) as connection:
        connection.execute(*insert(90_000))
        before = len(list(wal.frames(Path(f"{path}-wal"))))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.execute(*insert(10))
        log = Path(f"{path}-wal")

        assert 0 < len(list(wal.frames(log))) < before
        assert not wal.breaks_off_early(log)
