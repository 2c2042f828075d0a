"""``lambda-builder journal copy``, as whoever moves a service to another journal types it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lambda_builder.builds import BuildState
from tests.acceptance.test_cli import run
from tests.journals import make_request, make_result, opened, shared_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a journal with a build that waits and a dead letter."""
    path = tmp_path / "journal.sqlite3"
    with opened(path) as journal:
        journal.record([make_request(1), make_request(2)])
        journal.finish(make_result(2, BuildState.DEAD))
        assert journal.flush(10.0)
    return path


def copy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run("journal", "copy", *map(str, arguments))


def test_a_journal_goes_to_a_database_and_back(
    path: Path, tmp_path: Path, postgres_url: str
) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    back = tmp_path / "back.sqlite3"
    for source, target in ((path, postgres_url), (postgres_url, back)):
        done = copy(source, target, "--password-file", password)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[:2] == ["builds 2", "open 1"]
    with opened(back) as journal:
        found = journal.find(make_request(2).event_hash)
        assert found is not None
        assert found.state is BuildState.DEAD


def test_journals_that_are_in_use_are_not_copied(
    path: Path, tmp_path: Path, postgres_url: str
) -> None:
    with opened(path):
        done = copy(path, postgres_url)
        assert (done.returncode, done.stdout) == (2, "")
        assert str(path) in done.stderr
    replica = shared_journal(postgres_url)
    replica.open()
    try:
        done = copy(path, postgres_url)
        assert (done.returncode, done.stdout) == (2, "")
    finally:
        assert replica.close(10.0)
    assert copy(path, postgres_url).returncode == 0


@pytest.mark.parametrize(
    ("source", "target", "options", "told"),
    [
        ("nowhere.sqlite3", "new.sqlite3", (), "there is no journal"),
        ("mysql://db/builds", "new.sqlite3", (), "postgresql://"),
        ("postgresql://u:hunter2@x@db/b", "new.sqlite3", (), "must have @"),
        ("postgresql://u:hunter2@127.0.0.1:1/b", "new.sqlite3", (), "127.0.0.1"),
        (
            "a.sqlite3",
            "b.sqlite3",
            ("--password-file", "/nowhere"),
            "password-file cannot be read",
        ),
    ],
)
def test_what_cannot_be_copied_is_told_in_a_line_that_shows_no_password(
    tmp_path: Path, source: str, target: str, options: tuple[str, ...], told: str
) -> None:
    places = [each if "://" in each else tmp_path / each for each in (source, target)]
    done = copy(*places, *options)
    assert done.returncode == 2
    assert told in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not [*tmp_path.glob("new.sqlite3*")]
