"""A damaged journal is moved aside, its readable rows go on in a new file, and that is told."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import Refused
from lambda_builder.journal import Journal, OpenReport
from lambda_builder.journal.salvage import salvage
from lambda_builder.journal.schema import PAGE_SIZE
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


@pytest.fixture
def open_and_report() -> Iterator[Callable[[Path], tuple[Journal, OpenReport]]]:
    with contextlib.ExitStack() as closing:

        def open_one(path: Path) -> tuple[Journal, OpenReport]:
            journal = Journal(path, keep_seconds=1e12, keep_max=1_000_000)
            closing.callback(journal.close, 10.0)
            return journal, journal.open()

        yield open_one


def assert_in_service(path: Path, journal: Journal) -> None:
    journal.record([make_request(99_999)])
    assert open_ids(journal)[-1] == "id-99999"
    assert journal.close(10.0)
    with raw(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_without_its_header_everything_is_salvaged(path, capsys, open_and_report):
    whole = path.read_bytes()
    garble(path, 0, size=100)

    journal, report = open_and_report(path)

    assert report.salvaged == BUILDS
    assert report.open_rows == BUILDS * 3 // 4
    assert report.moved_aside is not None
    assert report.moved_aside.name.startswith("journal.sqlite3.corrupt-")
    assert report.moved_aside.read_bytes()[100:] == whole[100:]
    assert open_ids(journal) == [f"id-{number}" for number in range(BUILDS) if number % 4]
    found = journal.find(make_request(1).event_hash)
    assert found is not None
    assert found.attempts == 2
    dead = journal.finished(states=("dead",), limit=1000)
    assert sorted(result.request.event_id for result in dead) == sorted(
        f"id-{number}" for number in range(0, BUILDS, 4)
    )
    assert len(journal.outbox.due(1e12, 1000, "sink")) == BUILDS // 4
    assert_in_service(path, journal)
    told = capsys.readouterr().out
    assert "journal_salvaged" in told
    assert f"builds={BUILDS}" in told


def test_a_damaged_page_costs_only_the_builds_on_it_and_they_are_named(
    path, capsys, open_and_report
):
    garble(path, (leaf_pages(path, range(201, 202))[0] - 1) * PAGE_SIZE)

    journal, report = open_and_report(path)

    lost = BUILDS - report.salvaged
    assert 0 < lost <= PAGE_SIZE // 400
    ids = open_ids(journal)
    assert ids == sorted(ids, key=lambda event_id: int(event_id[3:]))
    assert_in_service(path, journal)
    told = capsys.readouterr().out
    assert f"lost={lost}" in told
    assert "lost_job_names=['build-customer-1-parser-1-" in told


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 6, 7, 8])
def test_whatever_page_is_damaged_the_service_comes_up_with_the_rest(path, page, open_and_report):
    garble(path, (page - 1) * PAGE_SIZE)

    journal, report = open_and_report(path)

    assert report.open_rows > BUILDS // 2
    assert_in_service(path, journal)


def test_a_file_that_was_cut_short_is_salvaged(path, open_and_report):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3 + 123)

    journal, report = open_and_report(path)

    assert report.moved_aside is not None
    assert BUILDS // 4 < report.salvaged < BUILDS
    assert_in_service(path, journal)


@pytest.mark.parametrize("content", [b"not a database\n" * 1000, b"x", b"\0" * 50_000])
def test_a_file_that_is_no_database_is_moved_aside(tmp_path, content, capsys, open_and_report):
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(content)

    journal, report = open_and_report(path)

    assert (report.open_rows, report.salvaged) == (0, 0)
    assert report.moved_aside is not None
    assert report.moved_aside.read_bytes() == content
    assert "journal_salvaged" in capsys.readouterr().out
    assert_in_service(path, journal)


def test_an_empty_file_is_a_new_journal(tmp_path, open_and_report):
    path = tmp_path / "journal.sqlite3"
    path.touch()

    journal, report = open_and_report(path)

    assert report == OpenReport()
    assert_in_service(path, journal)


def test_a_file_that_was_emptied_gives_what_is_left_in_its_log(killed, open_and_report):
    killed.write_bytes(b"")

    journal, report = open_and_report(killed)

    assert report.moved_aside is not None
    recorded = {f"id-{number}" for number in range(BUILDS, 2 * BUILDS)}
    assert len(recorded & set(open_ids(journal))) > BUILDS * 9 // 10
    assert_in_service(killed, journal)


def test_a_killed_journal_is_not_taken_for_a_damaged_one(killed, open_and_report):
    journal, report = open_and_report(killed)

    assert report.moved_aside is None
    assert report.open_rows == BUILDS * 3 // 4 + BUILDS
    assert_in_service(killed, journal)


def test_damage_in_the_middle_of_the_log_does_not_cost_what_comes_after(killed, open_and_report):
    log = killed.with_name(killed.name + "-wal")
    garble(log, log.stat().st_size // 2)

    journal, report = open_and_report(killed)

    assert report.moved_aside is not None
    assert report.moved_aside.with_name(report.moved_aside.name + "-wal").exists()
    assert report.open_rows > BUILDS * 3 // 4 + BUILDS * 8 // 10
    assert_in_service(killed, journal)


def test_damage_of_file_and_log_together_costs_only_what_was_on_those_pages(
    killed, open_and_report
):
    garble(killed, 0)
    garble(killed.with_name(killed.name + "-wal"), 0, size=32)

    journal, report = open_and_report(killed)

    assert report.open_rows > BUILDS * 3 // 4 + BUILDS * 9 // 10
    assert_in_service(killed, journal)


def test_a_build_that_was_settled_is_not_built_again_from_an_old_page(path, open_and_report):
    with opened(path, keep_seconds=0.0) as journal:
        for number in range(BUILDS):
            journal.finish(make_result(number, BuildState.CREATED))
        assert journal.flush(10.0)
        journal._housekeeping.start_round()
        wait_until(lambda: journal.flush(1.0) and journal.stats()["settled"] == 0)
        journal.record([make_request(5000)])
    with raw(path) as connection:
        connection.execute("UPDATE builds SET state = 'queued' WHERE event_hash = 'nothing'")
        connection.execute("DROP INDEX builds_open")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'probe'")

    journal, report = open_and_report(path)

    assert report.moved_aside is not None
    assert open_ids(journal) == ["id-5000"]
    assert_in_service(path, journal)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file for one that is too large to be checked at start."""
    monkeypatch.setattr("lambda_builder.journal.database._CHECKED_BYTES", -1)


@pytest.mark.usefixtures("unchecked")
def test_damage_in_the_way_of_the_start_itself_is_noticed_in_a_large_file_too(
    path, open_and_report
):
    garble(path, (leaf_pages(path, range(BUILDS - 1, BUILDS))[0] - 1) * PAGE_SIZE)

    journal, report = open_and_report(path)

    assert report.moved_aside is not None
    assert_in_service(path, journal)


@pytest.mark.usefixtures("unchecked")
def test_damage_that_shows_only_at_the_replay_is_mended_under_way(path, open_and_report):
    garble(path, (leaf_pages(path, range(201, 202))[0] - 1) * PAGE_SIZE)
    journal, report = open_and_report(path)
    assert report.moved_aside is None

    found, after = [], 0
    while page := journal.open_builds(after_seq=after, limit=7):
        found += page
        after = page[-1].seq

    assert BUILDS * 3 // 4 - PAGE_SIZE // 400 <= len(found) < BUILDS * 3 // 4
    assert len(list(path.parent.glob("*.corrupt-*"))) == 1
    assert journal.stats()["salvages"] == 1
    assert_in_service(path, journal)


@pytest.mark.usefixtures("unchecked")
def test_damage_met_by_a_lookup_refuses_it_once_and_is_mended(path, open_and_report):
    for page in leaf_pages(path, range(100, 300)):
        garble(path, (page - 1) * PAGE_SIZE)
    journal, report = open_and_report(path)
    assert report.moved_aside is None
    wanted = make_request(BUILDS // 2).event_hash

    with pytest.raises(Refused, match="journal cannot be read: damaged file"):
        journal.find(wanted)

    wait_until(lambda: journal.stats()["salvages"] == 1 and journal.available)
    assert journal.find(wanted) is None
    assert_in_service(path, journal)


@pytest.mark.usefixtures("unchecked")
def test_damage_met_by_the_writer_loses_no_outcome(path, open_and_report):
    for page in leaf_pages(path, range(100, 300)):
        garble(path, (page - 1) * PAGE_SIZE)
    journal, report = open_and_report(path)
    assert report.moved_aside is None
    for number in range(BUILDS):
        journal.finish(make_result(number, BuildState.CREATED, attempts=3))

    assert journal.flush(20.0)
    assert journal.stats()["salvages"] == 1
    assert len(journal.finished(states=("created",), limit=1000)) == BUILDS
    assert_in_service(path, journal)


@pytest.mark.parametrize("moment", ["the new file is made", "the old one is moved"])
def test_a_salvage_that_was_killed_is_finished_by_the_next_start(
    killed, moment, monkeypatch, open_and_report
):
    garble(killed, 0)
    with monkeypatch.context() as patch:
        name = "journal.sqlite3.salvage" if moment == "the new file is made" else killed.name
        rename = Path.rename

        def die(self: Path, target: Path) -> Path:
            if self.name == name and moment == "the new file is made":
                raise KeyboardInterrupt
            done = rename(self, target)
            if self.name == name:
                raise KeyboardInterrupt
            return done

        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            salvage(killed, "test")

    journal, report = open_and_report(killed)

    assert report.open_rows > BUILDS * 3 // 4 + BUILDS * 9 // 10
    assert not list(killed.parent.glob("*.salvage*"))
    assert list(killed.parent.glob("*.corrupt-*"))
    assert_in_service(killed, journal)
