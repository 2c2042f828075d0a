"""However much passes through, the journal's file stays small."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lambda_builder.journal import SqliteJournal
from tests.journals import make_message, make_request, make_result, opened
from tests.waiting import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


def live(journal: SqliteJournal, numbers: range) -> None:
    """Take builds through their whole lives, in batches of a hundred."""
    for first in numbers[::100]:
        builds = range(first, first + 100)
        journal.record([make_request(number) for number in builds])
        for number in builds:
            journal.finish(make_result(number), [make_message(number, key=f"key-{number}")])


def deliver_all(journal: SqliteJournal) -> None:
    while messages := journal.outbox.due(1e12, 500, "sink"):
        for message in messages:
            journal.outbox.delivered(message.id)


def test_file_and_log_stay_small_while_builds_pass_through(path):
    log = path.with_name(path.name + "-wal")
    sizes = []
    with opened(path, keep_max=200) as journal:
        for wave in range(6):
            with ThreadPoolExecutor(4) as callers:
                numbers = [wave * 4000 + start for start in range(0, 4000, 1000)]
                list(callers.map(lambda n: live(journal, range(n, n + 1000)), numbers))
            assert journal.flush(30.0)
            deliver_all(journal)
            journal._housekeeping.start_round()
            wait_until(lambda: journal.flush(1.0) and journal.stats()["settled"] <= 200)
            sizes.append(path.stat().st_size)
            assert log.stat().st_size < 32_000_000

        assert journal.stats()["trimmed"] == 24_000 - 200
        assert journal.outbox.pending() == 0
        assert max(sizes[2:]) <= 1.2 * max(sizes[:2]), sizes


def test_an_idle_journal_trims_by_itself_what_is_old_enough(path, monkeypatch):
    monkeypatch.setattr("lambda_builder.journal.sqlite.housekeeping._ROUND_SECONDS", 0.05)
    with opened(path, keep_seconds=0.1) as journal:
        live(journal, range(500))

        wait_until(lambda: journal.stats()["settled"] == 0, "the journal to trim")


def test_a_journal_that_is_never_idle_is_trimmed_all_the_same(path, monkeypatch):
    monkeypatch.setattr("lambda_builder.journal.sqlite.housekeeping._ROUND_SECONDS", 0.05)
    with opened(path, keep_seconds=0.0) as journal, ThreadPoolExecutor(4) as callers:
        over = []

        def load(number: int) -> None:
            while not over:
                number += 1
                journal.record([make_request(number)])
                journal.finish(make_result(number))

        loads = [callers.submit(load, start * 1_000_000) for start in range(4)]
        try:
            wait_until(lambda: journal.stats()["trimmed"] > 1000, "the journal to trim")
        finally:
            over.append(True)
        for each in loads:
            each.result(10)
