"""One process per journal, and a message that says which."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lambda_builder.errors import BootError
from lambda_builder.journal import SqliteJournal
from lambda_builder.journal.sqlite.lock import JournalLock
from tests.journals import make_request, open_ids, opened

HOLD = """
import sys, pathlib
from lambda_builder.journal import SqliteJournal
journal = SqliteJournal(pathlib.Path(sys.argv[1]), keep_seconds=60, keep_max=10)
journal.open()
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        while b"holding" not in process.stdout.readline():
            assert process.poll() is None
        yield process
        process.kill()


def test_a_second_process_refuses_to_boot_and_names_the_holder(path, holder, monkeypatch):
    monkeypatch.setattr("lambda_builder.journal.sqlite.store._HOLDER_PATIENCE_SECONDS", 0.1)
    journal = SqliteJournal(path, keep_seconds=60, keep_max=10)

    with pytest.raises(BootError) as refused:
        journal.open()

    message = str(refused.value)
    assert f"held by process {holder.pid} on {socket.gethostname()} since 20" in message
    assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", message)
    assert journal.close(1.0)


def test_a_start_waits_for_a_process_that_is_just_dying(path, holder):
    death = threading.Timer(0.3, holder.send_signal, args=(signal.SIGKILL,))
    death.start()

    with opened(path) as journal:
        journal.record([make_request(1)])
        assert open_ids(journal) == ["id-1"]
    death.join()


def test_the_same_process_cannot_open_it_twice_either(path, monkeypatch):
    monkeypatch.setattr("lambda_builder.journal.sqlite.store._HOLDER_PATIENCE_SECONDS", 0.0)
    with opened(path):
        with pytest.raises(BootError, match=f"held by process {os.getpid()} on"):
            SqliteJournal(path, keep_seconds=60, keep_max=10).open()
        with pytest.raises(BootError, match="held by"):
            SqliteJournal(path, keep_seconds=60, keep_max=10).open()


def test_a_closed_journal_can_be_opened_at_once(path, monkeypatch):
    monkeypatch.setattr("lambda_builder.journal.sqlite.store._HOLDER_PATIENCE_SECONDS", 0.0)
    for number in range(5):
        with opened(path) as journal:
            journal.record([make_request(number)])


def test_a_child_process_does_not_keep_the_lock(path):
    with opened(path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        with opened(path) as journal:
            assert journal.available
        child.kill()


def test_a_holder_that_could_not_sign_is_another_process(path):
    lock = JournalLock(path)
    lock.acquire(0.0)
    try:
        path.with_name(path.name + ".lock").write_text("")
        with pytest.raises(BootError, match="held by another process"):
            JournalLock(path).acquire(0.0)
    finally:
        lock.release()
    lock.release()
