"""What SQLite calls damaged is moved aside, and what reads still give goes on in a new file."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambda_builder.builds import Action, BuildState, CommandRequest
from lambda_builder.errors import BootError, Refused
from lambda_builder.journal import OpenReport, SqliteJournal
from lambda_builder.journal.sqlite import database
from lambda_builder.journal.sqlite.rebuild import rebuild
from lambda_builder.journal.sqlite.schema import PAGE_SIZE, TablesMissing, connect_writer
from tests.journals import make_message, make_request, make_result, open_ids, opened, raw
from tests.waiting import wait_until

BUILDS = 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with 300 open builds, 100 settled ones and 100 messages, closed properly."""
    path = tmp_path / "journal.sqlite3"
    with opened(path) as journal:
        journal.record([make_request(number) for number in range(BUILDS)])
        journal.attempt(make_request(1).event_hash, 2)
        for number in range(0, BUILDS, 4):
            message = make_message(number, key=f"key-{number}")
            journal.finish(make_result(number, BuildState.DEAD), [message])
    return path


@pytest.fixture
def killed(path: Path, tmp_path: Path) -> Path:
    """The same as a kill leaves it: much of it only in the log."""
    copy = tmp_path / "killed" / "journal.sqlite3"
    copy.parent.mkdir()
    with opened(path) as journal:
        journal.record([make_request(number) for number in range(BUILDS, 2 * BUILDS)])
        for part in path.parent.glob("journal.sqlite3*"):
            shutil.copy(part, copy.parent / part.name)
    return copy


def garble(path: Path, offset: int, size: int = PAGE_SIZE) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes((11 * index + 77) % 256 for index in range(size)))


def leaf_pages(path: Path, builds: range = range(BUILDS)) -> list[int]:
    """Numbers of the pages that hold these builds."""
    data = path.read_bytes()
    pages = [data[start : start + PAGE_SIZE] for start in range(0, len(data), PAGE_SIZE)]
    return [
        number
        for number, page in enumerate(pages, start=1)
        if page[0] == 0x0D and any(b'"event_id":"id-%d"' % build in page for build in builds)
    ]


def moved_aside(path: Path) -> list[Path]:
    """The damaged files beside the journal, without their logs."""
    return list(path.parent.glob("*.corrupt-*Z"))


@pytest.fixture
def open_and_report() -> Iterator[Callable[[Path], tuple[SqliteJournal, OpenReport]]]:
    with contextlib.ExitStack() as closing:

        def open_one(path: Path) -> tuple[SqliteJournal, OpenReport]:
            journal = SqliteJournal(path, keep_seconds=1e12, keep_max=1_000_000)
            closing.callback(journal.close, 10.0)
            return journal, journal.open()

        yield open_one


def assert_in_service(path: Path, journal: SqliteJournal) -> None:
    journal.record([make_request(99_999)])
    assert open_ids(journal)[-1] == "id-99999"
    assert journal.close(10.0)
    with raw(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("schema", [2, 3])
def test_commands_are_kept_when_the_file_is_moved_aside(
    tmp_path, open_and_report, monkeypatch, schema
):
    path = tmp_path / "commands.sqlite3"
    command = CommandRequest(
        action=Action.RETRY,
        event_id="1",
        event_source="s",
        event_type="t",
        correlation_id="1",
        job_name="j",
    )
    with opened(path) as journal:
        journal.record([make_request(1)])
        journal.keep_commands([command])
        journal.note([b"entry"], refused=False)
    if schema == 2:
        with raw(path) as connection:
            connection.execute("ALTER TABLE commands RENAME TO cancels")
            connection.execute("DROP TABLE audit")
            connection.execute("PRAGMA user_version = 2")
    with raw(path) as connection:
        ((page,),) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'builds_correlation_id'"
        )
    garble(path, (page - 1) * PAGE_SIZE)

    journal, _ = open_and_report(path)

    assert journal.stats()["moved_aside"] == 1
    assert journal.commands() == [command]
    kept = [entry for _, entry in journal.audit(before=None, limit=9)]
    assert kept == ([] if schema == 2 else [b"entry"])


def test_of_a_damaged_index_nothing_is_lost_and_the_old_file_is_kept(path, capsys, open_and_report):
    with raw(path) as connection:
        ((page,),) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'builds_correlation_id'"
        )
    garble(path, (page - 1) * PAGE_SIZE)
    damaged = path.read_bytes()

    journal, report = open_and_report(path)

    assert report.open_rows == BUILDS * 3 // 4
    assert journal.stats()["moved_aside"] == 1
    (aside,) = moved_aside(path)
    assert aside.name.startswith("journal.sqlite3.corrupt-")
    assert aside.read_bytes()[PAGE_SIZE:] == damaged[PAGE_SIZE:]
    assert open_ids(journal) == [f"id-{number}" for number in range(BUILDS) if number % 4]
    found = journal.find(make_request(1).event_hash)
    assert found is not None
    assert found.attempts == 2
    assert journal.find_by_id("correlation-1") == [found]
    dead = journal.finished(states=("dead",), limit=1000)
    assert sorted(result.request.event_id for result in dead) == sorted(
        f"id-{number}" for number in range(0, BUILDS, 4)
    )
    assert len(journal.outbox.due(1e12, 1000, "sink")) == BUILDS // 4
    assert_in_service(path, journal)
    told = capsys.readouterr().out
    assert "journal_moved_aside" in told
    assert f"builds={BUILDS}" in told
    assert "lost_builds=0" in told


def test_a_damaged_page_costs_only_the_builds_on_it_and_they_are_named(
    path, capsys, open_and_report
):
    garble(path, (leaf_pages(path, range(201, 202))[0] - 1) * PAGE_SIZE)

    journal, _ = open_and_report(path)

    open_rows, settled = journal.stats()["open"], journal.stats()["settled"]
    lost = BUILDS - open_rows - settled
    assert 0 < lost <= PAGE_SIZE // 400
    ids = open_ids(journal)
    assert ids == sorted(ids, key=lambda event_id: int(event_id[3:]))
    assert_in_service(path, journal)
    told = capsys.readouterr().out
    assert f"lost_builds={lost}" in told
    assert "lost_job_names=['build-customer-1-parser-1-" in told


def test_what_is_between_two_damaged_pages_is_kept(path, open_and_report):
    pages = leaf_pages(path)
    for page in (pages[5], pages[-5]):
        garble(path, (page - 1) * PAGE_SIZE)

    journal, _ = open_and_report(path)

    assert journal.stats()["open"] + journal.stats()["settled"] >= BUILDS - 2 * PAGE_SIZE // 400
    assert_in_service(path, journal)


@pytest.mark.parametrize("page", range(1, 12))
def test_whatever_page_is_damaged_the_service_comes_up(path, page, open_and_report):
    garble(path, (page - 1) * PAGE_SIZE)

    journal, _ = open_and_report(path)

    assert len(moved_aside(path)) == 1
    assert_in_service(path, journal)


def test_of_a_file_that_was_cut_short_the_rows_that_are_there_go_on(path, open_and_report):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3 + 123)

    journal, report = open_and_report(path)

    assert len(moved_aside(path)) == 1
    assert 0 < report.open_rows < BUILDS * 3 // 4
    assert_in_service(path, journal)


@pytest.mark.parametrize("content", [b"not a database\n" * 1000, b"\0" * 50_000])
def test_a_file_that_is_no_database_is_moved_aside(tmp_path, content, capsys, open_and_report):
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(content)

    journal, report = open_and_report(path)

    assert report == OpenReport()
    (aside,) = moved_aside(path)
    assert aside.read_bytes() == content
    assert "journal_moved_aside" in capsys.readouterr().out
    assert_in_service(path, journal)


def test_an_empty_file_is_a_new_journal(tmp_path, open_and_report):
    path = tmp_path / "journal.sqlite3"
    path.touch()

    journal, report = open_and_report(path)

    assert report == OpenReport()
    assert not moved_aside(path)
    assert_in_service(path, journal)


def test_the_log_of_a_file_that_was_emptied_is_kept(killed, open_and_report):
    log = killed.with_name(killed.name + "-wal")
    content = log.read_bytes()
    killed.write_bytes(b"")

    journal, _ = open_and_report(killed)

    (aside,) = moved_aside(killed)
    assert aside.with_name(aside.name + "-wal").read_bytes() == content
    assert_in_service(killed, journal)


def test_a_killed_journal_is_not_taken_for_a_damaged_one(killed, open_and_report):
    journal, report = open_and_report(killed)

    assert not moved_aside(killed)
    assert report.open_rows == BUILDS * 3 // 4 + BUILDS
    assert_in_service(killed, journal)


@pytest.mark.parametrize("hole", [0, 1, 5])
def test_a_hole_that_a_power_cut_leaves_behind_what_was_synced_is_no_damage(
    path, tmp_path, hole, open_and_report
):
    """What was written after the last fsync reaches the disk in any order, or not at all."""
    copy = tmp_path / "powerless" / path.name
    copy.parent.mkdir()
    with opened(path) as journal:
        journal.record([make_request(number) for number in range(BUILDS, BUILDS + 50)])
        synced = path.with_name(path.name + "-wal").stat().st_size
        for number in range(BUILDS, BUILDS + 20):
            journal.attempt(make_request(number).event_hash, 1)
        for part in path.parent.glob("journal.sqlite3*"):
            shutil.copy(part, copy.parent / part.name)
    log = copy.with_name(copy.name + "-wal")
    frame = PAGE_SIZE + 24
    assert log.stat().st_size > synced + 6 * frame
    with log.open("r+b") as file:
        file.seek(synced + hole * frame)
        file.write(b"\0" * frame)

    journal, report = open_and_report(copy)

    assert not moved_aside(copy)
    assert report.open_rows == BUILDS * 3 // 4 + 50
    assert set(open_ids(journal)) >= {f"id-{n}" for n in range(BUILDS, BUILDS + 50)}
    assert_in_service(copy, journal)


def test_a_build_that_was_settled_is_not_built_again_from_an_old_page(path, open_and_report):
    with opened(path, keep_seconds=0.0) as journal:
        for number in range(BUILDS):
            journal.finish(make_result(number, BuildState.CREATED))
        assert journal.flush(10.0)
        journal._housekeeping.start_round()
        wait_until(lambda: journal.flush(1.0) and journal.stats()["settled"] == 0)
        journal.record([make_request(5000)])
    with raw(path) as connection:
        connection.execute("DROP TABLE probe")

    journal, _ = open_and_report(path)

    assert len(moved_aside(path)) == 1
    assert open_ids(journal) == ["id-5000"]
    assert_in_service(path, journal)


@pytest.fixture
def damaged_under_way(path: Path) -> Iterator[SqliteJournal]:
    """A journal whose pages broke after they had been checked at the start."""
    with opened(path, keep_seconds=1e12) as journal:
        for page in leaf_pages(path, range(100, 300)):
            garble(path, (page - 1) * PAGE_SIZE)
        journal._database._writer.execute("PRAGMA shrink_memory")
        yield journal


def test_damage_met_by_a_lookup_refuses_it_once_and_is_mended(path, damaged_under_way):
    journal = damaged_under_way
    wanted = make_request(BUILDS // 2).event_hash

    with pytest.raises(Refused, match="journal cannot be read: damaged file"):
        journal.find(wanted)

    wait_until(lambda: journal.stats()["moved_aside"] == 1 and journal.available)
    assert journal.find(wanted) is None
    assert len(open_ids(journal)) > BUILDS // 4
    assert_in_service(path, journal)


def test_damage_met_by_the_writer_loses_no_outcome(path, damaged_under_way):
    journal = damaged_under_way
    for number in range(BUILDS):
        journal.finish(make_result(number, BuildState.CREATED, attempts=3))

    assert journal.flush(20.0)
    assert journal.stats()["moved_aside"] == 1
    assert len(journal.finished(states=("created",), limit=1000)) == BUILDS
    assert_in_service(path, journal)


def test_a_lookup_that_finds_damage_where_there_is_none_moves_nothing_aside(path):
    with opened(path) as journal:
        journal._database.suspect = True

        journal.record([make_request(5000)])

        assert journal.stats()["moved_aside"] == 0
        assert "id-5000" in open_ids(journal)


@pytest.fixture
def misread(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has SQLite call the file damaged so many times, as it does where the disk refuses reads."""

    def misread(times: int) -> None:
        left = iter(range(times))

        def connect(path: Path) -> sqlite3.Connection:
            if next(left, None) is not None:
                raise TablesMissing("database disk image is malformed")
            return connect_writer(path)

        monkeypatch.setattr(database, "connect_writer", connect)

    return misread


def test_a_read_that_failed_once_is_no_damage(path, misread, open_and_report):
    misread(1)

    _, report = open_and_report(path)

    assert not moved_aside(path)
    assert report.open_rows == BUILDS * 3 // 4


def test_a_file_that_the_disk_does_not_give_is_left_alone(path, misread, monkeypatch):
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    misread(2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", refuse)
        with pytest.raises(BootError, match="cannot be opened: Input/output error"):
            SqliteJournal(path, keep_seconds=3600.0, keep_max=1000).open()

    assert not moved_aside(path)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("renames", range(3))
def test_a_rebuild_that_was_killed_is_finished_by_the_next_start(
    killed, renames, monkeypatch, open_and_report
):
    garble(killed, (leaf_pages(killed)[0] - 1) * PAGE_SIZE)
    with monkeypatch.context() as patch:
        done = []
        rename = Path.rename

        def die(self: Path, target: Path) -> Path:
            if len(done) == renames:
                raise Killed
            done.append(target)
            return rename(self, target)

        patch.setattr(Path, "rename", die)
        with pytest.raises(Killed):
            rebuild(killed, "test")

    journal, report = open_and_report(killed)

    assert report.open_rows > BUILDS * 3 // 4 + BUILDS * 9 // 10
    assert journal.stats()["moved_aside"] == 1
    assert not list(killed.parent.glob("*.rebu*"))
    assert len(moved_aside(killed)) == 1
    assert_in_service(killed, journal)
