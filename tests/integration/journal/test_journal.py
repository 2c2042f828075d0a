"""What the journal keeps, from one process to the next."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from lambda_builder.builds import SKIPPED, BuildError, BuildState, Priority
from lambda_builder.errors import BootError, RefusalCode, Refused
from lambda_builder.journal import OpenBuild, SqliteJournal
from lambda_builder.journal.sqlite import lookups
from tests.journals import make_message, make_request, make_result, open_ids, opened, raw


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def test_a_recorded_build_is_found_by_the_next_process_as_it_was(path):
    request = make_request(
        1, priority=Priority.HIGH, event=b'{"x":"\xc5\xbc"}', build_args={"a": "b"}
    )
    with opened(path) as journal:
        journal.record([request])

    with opened(path) as journal:
        report = journal.open_builds(after_seq=0, limit=10)
        assert report == [OpenBuild(1, request, 0)]


def test_open_builds_come_in_the_order_of_acceptance_page_by_page(path):
    with opened(path) as journal:
        for number in range(25):
            journal.record([make_request(number)])
        journal.finish(make_result(7))

    with opened(path) as journal:
        found, after = [], 0
        while page := journal.open_builds(after_seq=after, limit=10):
            found += [build.request.event_id for build in page]
            after = page[-1].seq

    assert found == [f"id-{number}" for number in range(25) if number != 7]


def test_a_page_that_nobody_can_read_hides_no_build_behind_it(path):
    with opened(path) as journal:
        for number in range(4):
            journal.record([make_request(number)])
    with raw(path) as connection:
        connection.execute("UPDATE builds SET request = x'ff' WHERE seq IN (2, 3)")

    with opened(path) as journal:
        found = [journal.open_builds(after_seq=after, limit=1) for after in (0, 1, 4)]

    assert [[build.seq for build in page] for page in found] == [[1], [4], []]


def test_what_was_written_is_counted(path):
    with opened(path) as journal:
        journal.record([make_request(1), make_request(2)])
        journal.finish(make_result(1))
        assert journal.flush(10.0)
        numbers = journal.stats()

    assert numbers.pop("bytes") > 0
    assert numbers == {
        "backlog": 0,
        "rows_written": 3,
        "commits": 2,
        "fsyncs": 1,
        "trimmed": 0,
        "outbox_dropped": 0,
        "moved_aside": 0,
        "open": 1,
        "settled": 1,
        "outbox": 0,
    }


def test_builds_recorded_by_this_process_are_not_replayed_by_it(path):
    with opened(path) as journal:
        journal.record([make_request(1), make_request(2)])
        journal.finish(make_result(3))

    with opened(path) as journal:
        journal.record([make_request(4)])
        journal.reopen(make_request(3))
        replayed = journal.open_builds(after_seq=0, limit=10)

        assert [build.request.event_id for build in replayed] == ["id-1", "id-2"]
        assert open_ids(journal) == ["id-1", "id-2", "id-4", "id-3"]


def test_the_report_counts_open_builds_and_names_the_last(path):
    with opened(path) as journal:
        journal.record([make_request(number) for number in range(5)])
        journal.finish(make_result(4))

    journal = SqliteJournal(path, keep_seconds=60, keep_max=10)
    report = journal.open()
    journal.close(10.0)

    assert (report.open_rows, report.last_seq) == (4, 5)


def test_attempts_are_known_to_the_next_process(path):
    with opened(path) as journal:
        journal.record([make_request(1)])
        journal.attempt(make_request(1).event_hash, 1)
        journal.attempt(make_request(1).event_hash, 2)

    with opened(path) as journal:
        (build,) = journal.open_builds(after_seq=0, limit=10)
        found = journal.find(make_request(1).event_hash)

    assert build.attempts == 2
    assert found is not None
    assert (found.state, found.attempts) == (BuildState.QUEUED, 2)


def test_an_outcome_replaces_the_open_build_and_a_later_one_replaces_it(path):
    event_hash = make_request(1).event_hash
    with opened(path) as journal:
        journal.record([make_request(1)])
        journal.finish(make_result(1, BuildState.CREATED, job_uid="u"))
        journal.finish(make_result(1, BuildState.SUCCEEDED, job_uid="u", finished_at=5.0))
        assert journal.flush(10.0)

        assert journal.find(event_hash) == make_result(
            1, BuildState.SUCCEEDED, job_uid="u", finished_at=5.0
        )
        assert open_ids(journal) == []
        assert journal.stats()["settled"] == 1


def test_an_outcome_that_still_waits_is_a_mistake(path):
    with opened(path) as journal, pytest.raises(ValueError, match="queued"):
        journal.finish(make_result(1, BuildState.QUEUED))


def test_an_outcome_whose_row_was_lost_is_kept_all_the_same(path):
    with opened(path) as journal:
        journal.finish(make_result(1, BuildState.DEAD))
        assert journal.flush(10.0)
        assert journal.find(make_request(1).event_hash) == make_result(1, BuildState.DEAD)


def test_a_dead_build_that_goes_again_is_open_and_has_all_its_attempts(path):
    with opened(path) as journal:
        journal.record([make_request(1), make_request(2)])
        journal.attempt(make_request(1).event_hash, 4)
        journal.finish(make_result(1, BuildState.DEAD, attempts=4))
        journal.reopen(make_request(1))

        found = journal.find(make_request(1).event_hash)
        assert found is not None
        assert (found.state, found.attempts, found.error) == (BuildState.QUEUED, 0, None)
        assert open_ids(journal) == ["id-2", "id-1"]


def test_an_event_recorded_again_after_its_outcome_starts_afresh(path):
    with opened(path) as journal:
        journal.record([make_request(1), make_request(2)])
        journal.finish(make_result(1, BuildState.CANCELLED, attempts=2))
        journal.record([make_request(1, correlation_id="second")])

        found = journal.find(make_request(1).event_hash)
        assert found is not None
        assert (found.state, found.attempts) == (BuildState.QUEUED, 0)
        assert found.request.correlation_id == "second"
        assert open_ids(journal) == ["id-2", "id-1"]
        assert [r.request.event_id for r in journal.find_by_id("second")] == ["id-1"]
        assert journal.find_by_id("correlation-1") == []


def test_an_event_recorded_twice_keeps_its_place_and_its_attempts(path):
    with opened(path) as journal:
        journal.record([make_request(1), make_request(2)])
        journal.attempt(make_request(1).event_hash, 3)
        journal.record([make_request(1), make_request(1)])

        assert open_ids(journal) == ["id-1", "id-2"]
        found = journal.find(make_request(1).event_hash)
        assert found is not None
        assert found.attempts == 3


def test_a_refused_build_is_forgotten_but_never_one_with_an_outcome(path):
    with opened(path) as journal:
        journal.record([make_request(1), make_request(2)])
        journal.finish(make_result(2))
        journal.forget(make_request(1).event_hash)
        journal.forget(make_request(2).event_hash)
        assert journal.flush(10.0)

        assert journal.find(make_request(1).event_hash) is None
        assert journal.find(make_request(2).event_hash) is not None


def test_builds_are_found_by_job_name_and_by_correlation_id_newest_first(path):
    with opened(path) as journal:
        journal.record([make_request(n, correlation_id="shared") for n in range(3)])
        journal.finish(make_result(1, request=make_request(1, correlation_id="shared")))
        assert journal.flush(10.0)

        by_correlation = journal.find_by_id("shared")
        (by_name,) = journal.find_by_id(make_request(1).job_name)

        assert [r.request.event_id for r in by_correlation] == ["id-2", "id-1", "id-0"]
        assert by_name == by_correlation[1]
        assert journal.find_by_id("nobody") == []


def test_outcomes_are_listed_by_state_newest_first(path):
    moments = iter(range(100))
    with opened(path, clock=lambda: float(next(moments))) as journal:
        journal.finish(make_result(1, BuildState.DEAD))
        journal.finish(make_result(2, BuildState.CREATED))
        journal.finish(make_result(3, BuildState.CANCELLED))
        journal.finish(make_result(4, BuildState.DEAD))
        assert journal.flush(10.0)

        found = journal.finished(states=("dead", "cancelled"), limit=10)
        assert [result.request.event_id for result in found] == ["id-4", "id-3", "id-1"]
        assert len(journal.finished(states=("dead", "cancelled"), limit=2)) == 2
        assert journal.finished(states=(), limit=10) == []


def test_texts_that_sqlite_cannot_hold_are_recorded_and_found(path):
    odd = make_request(
        1,
        event_hash="h\udcff",
        correlation_id="c\udcff",
        event=b"\xed\xb3\xbf\0",
    )
    with opened(path) as journal:
        journal.record([odd])
        found = journal.find("h\udcff")
        assert found is not None
        assert found.request == odd
        assert len(journal.find_by_id("c\udcff")) == 1


def test_a_change_that_cannot_be_stored_costs_only_itself(path):
    with opened(path) as journal:
        journal.record([make_request(number) for number in range(9)])
        gate = threading.Barrier(9)

        def call(number: int) -> str:
            gate.wait()
            try:
                # Beyond SQLite's integers: no build's fault but this one's.
                journal.attempt(make_request(number).event_hash, 2**70 if number == 4 else number)
            except Refused as error:
                return error.code
            journal.record([make_request(100 + number)])
            return "fine"

        with ThreadPoolExecutor(9) as callers:
            answers = list(callers.map(call, range(9)))

        assert answers.count("fine") == 8
        assert answers[4] == RefusalCode.JOURNAL_UNAVAILABLE
        assert len(open_ids(journal)) == 17
        assert journal.available


def test_concurrent_callers_share_commits_and_each_finds_its_own(path):
    with opened(path) as journal:

        def call(first: int) -> None:
            for number in range(first, first + 40):
                journal.record([make_request(number)])
                assert journal.find(make_request(number).event_hash) is not None
                journal.attempt(make_request(number).event_hash, 1)
                journal.finish(make_result(number))

        with ThreadPoolExecutor(16) as callers:
            list(callers.map(call, range(0, 640, 40)))
        assert journal.flush(10.0)

        numbers = journal.stats()
        assert (numbers["open"], numbers["settled"]) == (0, 640)
        assert numbers["fsyncs"] < 640
        assert numbers["rows_written"] == 3 * 640


def test_only_what_the_file_may_hold_is_asked_of_it(path, monkeypatch):
    monkeypatch.setattr(lookups, "_HASHES_AT_ONCE", 3)
    ended = [make_result(number) for number in range(10)]
    with opened(path) as journal:
        journal.record([make_request(10), make_request(11)], ended[:2])
        for result in ended[2:]:
            journal.finish(result)
        journal.reopen(make_request(12))
        assert journal.flush(5.0)
        written = [make_request(number) for number in range(13)]
        assert all(journal.find(request.event_hash) for request in written)

    with opened(path) as journal:
        asked: list[str] = []
        fetch = journal._database.fetch
        monkeypatch.setattr(
            journal._database, "fetch", lambda sql, keys=(): asked.extend(keys) or fetch(sql, keys)
        )
        assert all(journal.find(request.event_hash) for request in written)
        assert asked == [request.event_hash for request in written]
        assert journal.find(make_request(99).event_hash) is None
        assert len(asked) == len(written)


def test_a_batch_is_recorded_whole_and_in_its_order(path):
    with opened(path) as journal:
        journal.record([make_request(number) for number in range(100)])

        assert open_ids(journal) == [f"id-{number}" for number in range(100)]
        assert journal.stats()["fsyncs"] == 1


def test_attempts_and_outcomes_cost_no_fsync(path):
    with opened(path) as journal:
        journal.record([make_request(1)])
        before = journal.stats()["fsyncs"]
        for attempts in range(5):
            journal.attempt(make_request(1).event_hash, attempts)
        journal.finish(make_result(1), [make_message(1)])
        assert journal.flush(10.0)

        assert journal.stats()["fsyncs"] == before


def test_the_directories_of_a_journal_are_made(tmp_path):
    with opened(tmp_path / "not" / "there" / "yet" / "journal.sqlite3") as journal:
        journal.record([make_request(1)])


def test_the_files_are_for_their_owner_alone(path):
    with opened(path) as journal:
        journal.record([make_request(1)])
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}

    assert set(modes.values()) == {0o600}
    assert {path.name, path.name + "-wal", path.name + ".lock"} <= set(modes)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_one_tidy_file_is_left_behind(path):
    with opened(path) as journal:
        journal.record([make_request(1)])

    assert {each.name for each in path.parent.iterdir()} == {path.name, path.name + ".lock"}
    with raw(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_closing_twice_or_before_opening_is_harmless(path):
    journal = SqliteJournal(path, keep_seconds=60, keep_max=10)
    assert journal.close(1.0)

    with opened(path) as journal:
        journal.record([make_request(1)])
        assert journal.close(10.0)
        assert journal.close(10.0)


def test_after_its_end_the_journal_refuses_and_loses_nothing_it_has(path, capsys):
    with opened(path) as journal:
        journal.record([make_request(1)])
        journal.close(10.0)

        for action in (
            lambda: journal.record([make_request(2)]),
            lambda: journal.attempt(make_request(1).event_hash, 1),
            lambda: journal.find(make_request(1).event_hash),
            lambda: journal.outbox.due(0.0, 1, "sink"),
        ):
            with pytest.raises(Refused, match="closed") as refused:
                action()
            assert refused.value.code is RefusalCode.JOURNAL_UNAVAILABLE
        journal.finish(make_result(1))
        journal.forget(make_request(1).event_hash)
        journal.outbox.delivered("message-1")
        assert journal.flush(1.0)

    assert "journal_closed_before_outcome" in capsys.readouterr().out
    with opened(path) as journal:
        assert open_ids(journal) == ["id-1"]


def test_what_was_handed_in_before_the_end_is_written(path):
    with opened(path) as journal:
        for number in range(500):
            journal.finish(make_result(number), [make_message(number)])

    with opened(path) as journal:
        assert journal.stats()["settled"] == 500
        assert journal.outbox.pending() == 500


@pytest.mark.parametrize("place", ["a directory", "below a file"])
def test_a_path_that_cannot_be_a_journal_stops_the_start_and_says_so(tmp_path, place):
    path = tmp_path / "here"
    if place == "a directory":
        path.mkdir()
    else:
        path.write_text("a file")
        path = path / "journal.sqlite3"
    journal = SqliteJournal(path, keep_seconds=60, keep_max=10)

    with pytest.raises(BootError, match="must name a file"):
        journal.open()

    assert journal.close(1.0)


def test_a_newer_journal_stops_the_start_and_is_left_as_it_is(path):
    with opened(path) as journal:
        journal.record([make_request(1)])
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    journal = SqliteJournal(path, keep_seconds=60, keep_max=10)

    with pytest.raises(BootError, match="newer version"):
        journal.open()

    assert journal.close(1.0)
    assert path.read_bytes() == before


def test_the_builds_left_open_are_read_in_pages_of_bounded_size(path):
    with opened(path) as journal:
        for number in range(20):
            journal.record([make_request(number, event=b"x" * 1_000_000)])
        journal.record([make_request(20, event=b"x" * 9_000_000)])

        pages, after = [], 0
        while page := journal.open_builds(after_seq=after, limit=500, up_to_seq=1 << 62):
            pages.append([build.request.event_id for build in page])
            after = page[-1].seq

    assert [len(page) for page in pages] == [8, 8, 4, 1]
    assert [build for page in pages for build in page] == [f"id-{number}" for number in range(21)]


def test_a_job_name_finds_no_event_that_was_skipped_for_that_job(path):
    with opened(path) as journal:
        built = make_request(1)
        skipped = make_result(
            2,
            BuildState.CANCELLED,
            request=make_request(2, job_name=built.job_name),
            error=BuildError(SKIPPED, "busy"),
        )
        raced = replace(skipped, request=make_request(3, job_name=built.job_name))
        journal.record([built, raced.request], [skipped])
        journal.finish(make_result(1, BuildState.SUCCEEDED))
        journal.finish(raced)
        assert journal.flush(5.0)

        found = journal.find_by_id(built.job_name)
        assert [result.request.event_id for result in found] == ["id-1"]
        assert journal.find_by_id("correlation-2") == [skipped]
        assert journal.find_by_id("correlation-3") == [raced]


def test_ended_builds_are_read_without_their_events_and_few_of_them_at_a_time(path, monkeypatch):
    with opened(path) as journal:
        for number in range(12):
            journal.record([make_request(number, event=b"x" * 1_000_000)])
            journal.finish(make_result(number, BuildState.DEAD, request=make_request(number)))
        assert journal.flush(10.0)

        fetch, largest = journal._fetch, [0]

        def watched(sql, parameters=()):
            rows = fetch(sql, parameters)
            sizes = (len(value) for row in rows for value in row if isinstance(value, bytes))
            largest[0] = max(largest[0], sum(sizes))
            return rows

        monkeypatch.setattr(journal, "_fetch", watched)
        ended = journal.finished(states=["dead"], limit=11)
        assert [result.request.event_id for result in ended] == [
            f"id-{n}" for n in range(11, 0, -1)
        ]
        assert not any(result.request.event for result in ended)
        assert largest[0] < 9_000_000
