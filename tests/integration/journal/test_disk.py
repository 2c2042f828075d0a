"""A disk that is full, read-only or broken refuses; it never loses, and recovers by itself."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import BootError, RefusalCode, Refused
from lambda_builder.journal import SqliteJournal
from lambda_builder.journal.sqlite import database, schema, store
from lambda_builder.journal.sqlite.room import Room
from tests.disks import mounted
from tests.journals import make_message, make_request, make_result, open_ids, opened, raw
from tests.programs import needs
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]


class SmallDisk:
    """A tmpfs of one MiB."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.journal = place / "journal.sqlite3"
        self._filler = place / "filler"

    def fill(self, leave: int = 0) -> None:
        with self._filler.open("ab") as file:
            free = os.statvfs(self.place)
            with contextlib.suppress(OSError):  # the journal may take the last page meanwhile
                file.write(b"\0" * max(0, free.f_bavail * free.f_bsize - leave))

    def free(self) -> None:
        self._filler.unlink()

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.place)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "disk", "1m") as place:
        yield SmallDisk(place)


def record_until_refused(journal: SqliteJournal, first: int = 0) -> tuple[list[int], int, Refused]:
    """Record builds of 4 kB; returns those that were acknowledged, and the one that was not."""
    acknowledged = []
    for number in range(first, first + 10_000):
        try:
            journal.record([make_request(number, event=b"x" * 4000)])
        except Refused as refused:
            return acknowledged, number, refused
        acknowledged.append(number)
    pytest.fail("the disk never got full")


def use_up(journal: SqliteJournal, disk: SmallDisk) -> Refused:
    """Write until nothing more fits, though others take what the journal gives back of its log."""
    for attempts in range(5000):
        disk.fill()
        try:
            journal.attempt(make_request(1).event_hash, attempts)
        except Refused as refused:
            return refused
    pytest.fail("there was always room")


def test_a_full_disk_refuses_and_accepts_nothing(small_disk):
    with opened(small_disk.journal) as journal:
        acknowledged, refused_one, refusal = record_until_refused(journal)

        assert refusal.code is RefusalCode.JOURNAL_UNAVAILABLE
        assert refusal.detail == "journal cannot be written: disk full"
        assert refusal.retry_after == 5
        assert len(acknowledged) > 5
        assert journal.find(make_request(refused_one).event_hash) is None
        assert open_ids(journal) == [f"id-{number}" for number in acknowledged]


def test_events_that_are_not_built_take_no_room_from_the_builds_that_are(small_disk):
    with opened(small_disk.journal) as journal:
        acknowledged, *_ = record_until_refused(journal)
        turned_away = (
            make_result(number, BuildState.CANCELLED) for number in range(20_000, 30_000)
        )
        with pytest.raises(Refused, match="disk full"):
            all(journal.record([], [result]) == {} for result in turned_away)

        assert journal.stats()["backlog"] == 0
        for number in acknowledged:
            journal.attempt(make_request(number).event_hash, 1)
            journal.finish(make_result(number, BuildState.DEAD))
        assert journal.flush(5.0), "an outcome had no room"


def test_what_was_acknowledged_before_the_disk_was_full_is_there_after_a_kill(small_disk, tmp_path):
    with opened(small_disk.journal) as journal:
        acknowledged, *_ = record_until_refused(journal)
        for part in small_disk.place.glob("journal.sqlite3*"):
            shutil.copy(part, tmp_path / part.name)

    with opened(tmp_path / "journal.sqlite3") as journal:
        assert open_ids(journal) == [f"id-{number}" for number in acknowledged]


def test_with_space_again_it_takes_builds_again_without_being_asked(small_disk):
    with opened(small_disk.journal) as journal:
        small_disk.fill(leave=200_000)
        acknowledged, *_ = record_until_refused(journal)
        small_disk.fill()
        wait_until(lambda: not journal.available)

        small_disk.free()

        wait_until(lambda: journal.available, "the journal to try again")
        journal.record([make_request(99_999)])
        assert open_ids(journal)[:-1] == [f"id-{number}" for number in acknowledged]


def test_outcomes_and_messages_outlast_a_full_disk_in_memory(small_disk):
    with opened(small_disk.journal) as journal:
        journal.record([make_request(number) for number in range(60)])
        small_disk.fill()
        record_until_refused(journal, first=1000)
        small_disk.fill()
        for number in range(60):
            result = make_result(number, BuildState.DEAD)
            letter = make_message(
                number, key=f"key-{number}", body=b"x" * 4000, destination="dead_letter"
            )
            journal.finish(result, [letter])
        assert not journal.flush(0.05)
        assert journal.outbox.pending() == 60
        wait_until(lambda: journal.stats()["backlog"] > 0, "the first try to be over")

        small_disk.free()

        assert journal.flush(10.0)
        assert len(journal.finished(states=("dead",), limit=100)) == 60
        assert len(journal.outbox.due(1e12, 100, "dead_letter")) == 60


def test_of_what_is_noted_in_vain_on_a_full_disk_memory_keeps_so_much_and_no_more(
    small_disk, monkeypatch
):
    """What the service refuses with 5xx, because of the disk itself, may be tried without end."""
    monkeypatch.setattr(store, "AUDIT_KEPT", {False: 20, True: 20})
    monkeypatch.setattr(store, "_AUDIT_SECONDS", 0.0)
    with opened(small_disk.journal) as journal:
        use_up(journal, small_disk)
        for number in range(200):
            journal.note([b"%05d" % number + b"x" * 4000], refused=False)
        small_disk.free()
        assert journal.flush(10.0)
        kept = [entry[:5] for _, entry in journal.audit(before=None, limit=500)]
    assert kept[::-1] == [b"%05d" % number for number in range(len(kept))]
    assert 0 < len(kept) <= 60  # some room may have been found at first


def test_attempts_are_refused_so_that_the_worker_tries_again_later(small_disk):
    with opened(small_disk.journal) as journal:
        journal.record([make_request(1)])
        small_disk.fill()
        record_until_refused(journal, first=1000)

        assert use_up(journal, small_disk).detail == "journal cannot be written: disk full"
        small_disk.free()
        wait_until(lambda: journal.available)
        journal.attempt(make_request(1).event_hash, 7777)

        found = journal.find(make_request(1).event_hash)
        assert found is not None
        assert found.attempts == 7777


def test_a_group_that_does_not_fit_is_refused_whole_and_what_nobody_waits_for_is_kept(small_disk):
    with opened(small_disk.journal) as journal:
        journal.record([make_request(number) for number in range(10)])
        small_disk.fill(leave=150_000)
        too_large = [make_request(100 + n, event=b"x" * 50_000) for n in range(20)]
        gate = threading.Barrier(5)

        def call(number: int) -> str:
            gate.wait()
            journal.finish(make_result(number))
            try:
                journal.record(too_large[number * 4 : number * 4 + 4])
            except Refused as refused:
                return refused.code
            return "recorded"

        with ThreadPoolExecutor(5) as callers:
            answers = list(callers.map(call, range(5)))
        assert journal.flush(10.0)

        recorded = {f"id-{100 + n}" for a in range(5) if answers[a] == "recorded"
                    for n in range(a * 4, a * 4 + 4)}  # fmt: skip
        assert "recorded" not in answers or set(answers) == {"recorded", "journal_unavailable"}
        assert RefusalCode.JOURNAL_UNAVAILABLE in answers
        assert set(open_ids(journal)) == recorded | {f"id-{number}" for number in range(5, 10)}


def test_a_delivered_message_is_not_delivered_again_while_the_disk_is_full(small_disk):
    with opened(small_disk.journal) as journal:
        journal.record([make_request(1)])
        journal.outbox.put([make_message(1), make_message(2)], durable=True)
        small_disk.fill()
        record_until_refused(journal, first=1000)
        use_up(journal, small_disk)

        journal.outbox.delivered("message-1")
        assert journal.outbox.due(1e12, 10, "sink") == []
        moment = journal.outbox.next_due("sink")
        assert moment is not None
        small_disk.free()

        assert journal.flush(10.0)
        assert [m.id for m in journal.outbox.due(1e12, 10, "sink")] == ["message-2"]


def test_no_message_overtakes_an_outcome_of_its_build_for_which_there_is_no_room(small_disk):
    key = make_request(1).event_hash
    large = make_message(1, key=key, body=b"x" * 200_000)
    with opened(small_disk.journal) as journal:
        small_disk.fill(leave=150_000)
        journal.finish(make_result(1), [large])
        with pytest.raises(Refused, match="disk full"):
            journal.outbox.put([make_message(2, key=key)], durable=True)
        journal.outbox.put([make_message(3, key=key)])
        journal.outbox.put([make_message(4, key="another build")], durable=True)
        assert [m.id for m in journal.outbox.due(1e12, 10, "sink")] == ["message-4"]

        small_disk.free()

        assert journal.flush(10.0)
        assert [m.id for m in journal.outbox.due(1e12, 10, "sink")] == ["message-4", "message-1"]
        journal.outbox.delivered("message-1")
        assert journal.flush(10.0)
        assert [m.id for m in journal.outbox.due(1e12, 10, "sink")] == ["message-4", "message-3"]


def test_a_full_disk_at_the_end_is_told(small_disk, capsys):
    journal = SqliteJournal(small_disk.journal, keep_seconds=60, keep_max=10)
    journal.open()
    small_disk.fill()
    record_until_refused(journal)
    for number in range(50):
        journal.finish(make_result(number, request=make_request(number, event=b"x" * 9000)))

    assert not journal.close(0.2)
    assert not journal.close(0.2)

    assert "journal_changes_lost" in capsys.readouterr().out
    small_disk.free()
    with opened(small_disk.journal) as again:
        assert again.available


def test_a_journal_that_filled_its_volume_still_brings_every_build_to_its_end(small_disk):
    with opened(small_disk.journal) as journal:
        acknowledged, *_ = record_until_refused(journal)
        for number in acknowledged:
            journal.attempt(make_request(number).event_hash, 1)
            journal.finish(make_result(number), [make_message(number, key=f"key-{number}")])
        assert journal.flush(10.0)
        assert open_ids(journal) == []
        for number in acknowledged:
            journal.outbox.delivered(f"message-{number}")
        assert journal.flush(10.0)
        assert journal.outbox.pending() == 0
        with pytest.raises(Refused, match="disk full"):
            journal.record([make_request(5000, event=b"x" * 4000)])

    # Room for new builds comes with the end of the outcomes' time.
    with opened(small_disk.journal, keep_seconds=0.0) as journal:
        journal._housekeeping.start_round()
        wait_until(lambda: journal.flush(1.0) and journal.stats()["settled"] == 0)
        assert len(record_until_refused(journal, first=6000)[0]) >= len(acknowledged) // 2


def test_a_receiver_that_is_away_costs_old_events_and_no_build(small_disk, capsys):
    with opened(small_disk.journal, keep_seconds=0.0, keep_max=0) as journal:
        for number in range(400):
            journal._housekeeping.start_round()
            record_patiently(journal, number)
            journal.finish(
                make_result(number), [make_message(number, key=f"key-{number}", body=b"x" * 4000)]
            )
        assert journal.flush(10.0)

        dropped = journal.stats()["outbox_dropped"]
        waiting = [message.id for message in journal.outbox.due(1e12, 1000, "sink")]
        assert dropped > 300
        assert waiting == [f"message-{number}" for number in range(dropped, 400)]
        assert 100_000 < 4000 * len(waiting) < 270_000
    assert "outbox_messages_dropped" in capsys.readouterr().out


def record_patiently(journal: SqliteJournal, number: int) -> None:
    def record() -> bool:
        try:
            journal.record([make_request(number)])
        except Refused:
            return False
        return True

    wait_until(record)


def test_dead_letters_are_never_dropped_and_wait_without_holding_up_the_rest(small_disk):
    with opened(small_disk.journal) as journal:
        acknowledged, *_ = record_until_refused(journal)
        letters = acknowledged[: len(acknowledged) // 2]
        for number in letters:
            letter = make_message(
                number, key=f"key-{number}", destination="dead_letter", body=b"x" * 12_000
            )
            journal.finish(make_result(number, BuildState.DEAD), [letter])
        for number in acknowledged[len(letters) :]:
            journal.attempt(make_request(number).event_hash, 1)
            journal.finish(make_result(number))
        wait_until(lambda: len(journal.finished(states=("created",), limit=999)) > len(letters) - 1)
        wait_until(lambda: journal.stats()["backlog"] > 0, "letters that do not fit")

        delivered: set[str] = set()

        def deliver() -> bool:
            for message in journal.outbox.due(1e12, 100, "dead_letter"):
                delivered.add(message.id)
                journal.outbox.delivered(message.id)
            return len(delivered) == len(letters)

        wait_until(deliver, "every dead letter", timeout=30.0)
        assert journal.flush(10.0)
        assert journal.stats()["outbox_dropped"] == 0
        assert open_ids(journal) == []


def test_a_start_on_a_full_disk_says_what_to_do_and_succeeds_once_there_is_room(small_disk):
    with opened(small_disk.journal) as journal:
        journal.record([make_request(1)])
    small_disk.fill()
    journal = SqliteJournal(small_disk.journal, keep_seconds=60, keep_max=10)

    with pytest.raises(Refused, match="cannot be opened: disk full; free some space"):
        journal.open()
    assert not journal.available
    with pytest.raises(Refused, match="not open yet"):
        journal.record([make_request(2)])

    small_disk.free()
    assert journal.open().open_rows == 1
    wait_until(lambda: journal.available)
    assert open_ids(journal) == ["id-1"]
    assert journal.close(10.0)


def test_a_start_on_a_read_only_volume_says_what_to_do(small_disk):
    with opened(small_disk.journal) as journal:
        journal.record([make_request(1)])
    small_disk.remount("ro")
    journal = SqliteJournal(small_disk.journal, keep_seconds=60, keep_max=10)

    with pytest.raises(BootError, match="Read-only file system; mount the volume writable"):
        journal.open()

    small_disk.remount("rw")
    assert journal.close(1.0)


def in_a_process(tmp_path: Path, code: str, **environment: str) -> str:
    """Run ``code`` with the journal's path in ``path``; returns what it printed."""
    prelude = (
        "import os, pathlib, resource, sys\n"
        "from lambda_builder.builds import BuildState\n"
        "from lambda_builder.errors import BootError, Refused\n"
        "from lambda_builder.journal import SqliteJournal\n"
        "from tests.journals import make_request, make_result, open_ids\n"
        "from tests.waiting import wait_until\n"
        f"path = pathlib.Path({str(tmp_path / 'journal.sqlite3')!r})\n"
        "journal = SqliteJournal(path, keep_seconds=3600, keep_max=1000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_refuses_and_recovers(tmp_path):
    said = in_a_process(
        tmp_path,
        """
journal.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
acknowledged = 0
try:
    while True:
        journal.record([make_request(acknowledged, event=b"x" * 4000)])
        acknowledged += 1
except Refused as refused:
    print(refused.detail)
journal.finish(make_result(0, BuildState.DEAD))
assert len(open_ids(journal)) in (acknowledged, acknowledged - 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
wait_until(lambda: journal.available)
journal.record([make_request(99_999)])
assert journal.flush(10)
assert len(open_ids(journal)) == acknowledged > 3
assert len(journal.finished(states=("dead",), limit=9)) == 1
assert journal.close(10)
print("recovered")
""",
    )

    assert "journal cannot be written: disk I/O error" in said
    assert said.endswith("recovered\n")


def test_a_directory_that_may_not_be_written_says_who_needs_the_right(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root may become another user: run the tests as root")
    tmp_path.chmod(0o755)
    said = in_a_process(
        tmp_path,
        """
os.setuid(65534)
try:
    journal.open()
except BootError as error:
    print(error)
""",
    )

    # Nobody may not even pass the directories above in some places; both are told alike.
    assert "Permission denied; give user 65534 write access" in said


FAILING_SYNC = """
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken(void) {
    const char *flag = getenv("FSYNC_BROKEN_IF");
    if (flag && access(flag, F_OK) == 0) { errno = EIO; return 1; }
    return 0;
}
int fsync(int fd) { return broken() ? -1 : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return broken() ? -1 : syscall(SYS_fdatasync, fd); }
"""


@needs("cc")
def test_after_a_failed_fsync_nothing_is_acknowledged_until_all_of_it_is_on_the_disk(tmp_path):
    source, library = tmp_path / "sync.c", tmp_path / "sync.so"
    source.write_text(FAILING_SYNC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    flag = tmp_path / "broken"
    said = in_a_process(
        tmp_path,
        f"""
flag = pathlib.Path({str(flag)!r})
journal.open()
for number in range(20):
    journal.record([make_request(number)])
log = path.with_name(path.name + "-wal")
generation = log.read_bytes()[16:24]
flag.touch()
journal.attempt(make_request(3).event_hash, 3)  # needs no fsync
for number in (100, 101):
    try:
        journal.record([make_request(number)])
    except Refused as refused:
        print(refused.detail)
assert journal.find(make_request(100).event_hash) is None
journal.finish(make_result(0))
assert not journal.flush(1.2), "an outcome went into a log that may have holes"
assert not journal.available
flag.unlink()
wait_until(lambda: journal.available)
# What the system may have dropped from the log was written again, and the log begun anew.
assert log.read_bytes()[16:24] != generation
assert len(open_ids(journal)) == 19
journal.record([make_request(102)])
assert len(open_ids(journal)) == 20
assert journal.close(10)
print("recovered")
""",
        LD_PRELOAD=str(library),
        FSYNC_BROKEN_IF=str(flag),
    )

    assert "journal cannot be written: disk I/O error" in said
    assert "journal cannot be written: Input/output error" in said
    assert said.endswith("recovered\n")
    with opened(tmp_path / "journal.sqlite3") as journal:
        found = journal.find(make_request(3).event_hash)
        assert found is not None
        assert found.attempts == 3
        assert len(open_ids(journal)) == 20
    with raw(tmp_path / "journal.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


class WithoutLog(sqlite3.Connection):
    """SQLite where the disk refuses the change to the log: it says so by what it returns."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("journal_mode = WAL", "journal_mode"), *parameters)


def test_a_start_without_sqlites_log_is_refused(tmp_path, monkeypatch):
    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, factory=WithoutLog)

    monkeypatch.setattr(schema, "_connect", connect)

    with pytest.raises(BootError, match="cannot be opened: disk I/O error"):
        SqliteJournal(tmp_path / "journal.sqlite3", keep_seconds=1.0, keep_max=1).open()


def test_a_start_is_refused_while_the_name_of_the_log_cannot_be_synced(tmp_path, monkeypatch):
    def refuse(directory: Path) -> None:
        if list(directory.glob("*-wal")):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(database, "sync_directory", refuse)

    with pytest.raises(BootError, match="cannot be opened: Input/output error"):
        SqliteJournal(tmp_path / "journal.sqlite3", keep_seconds=1.0, keep_max=1).open()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("age", [0, 3600], ids=["new", "old"])
def test_nothing_is_acknowledged_into_a_file_that_the_next_start_would_not_find(
    tmp_path, suffix, replaced, age
):
    path = tmp_path / "journal.sqlite3"
    aside = tmp_path / "aside"
    with opened(path) as journal:
        os.utime(tmp_path, (time.time() - age,) * 2)
        journal.record([make_request(1)])
        file = path.with_name(path.name + suffix)
        file.rename(aside)
        if replaced:
            shutil.copy(aside, file)

        with pytest.raises(Refused, match="removed or replaced") as refused:
            journal.record([make_request(2)])
        assert refused.value.code is RefusalCode.JOURNAL_UNAVAILABLE

        aside.replace(file)
        journal.record([make_request(3)])
        shutil.copytree(tmp_path, tmp_path / "power cut")
    with opened(tmp_path / "power cut" / path.name) as found:
        assert open_ids(found) == ["id-1", "id-3"]


def test_a_journal_whose_directory_was_replaced_acknowledges_nothing(tmp_path):
    place = tmp_path / "place"
    with opened(place / "journal.sqlite3") as journal:
        os.utime(place, (1e9, 1e9))
        journal.record([make_request(1)])
        shutil.copytree(place, tmp_path / "copy")
        place.rename(tmp_path / "aside")
        for _ in "gone", "replaced":
            with pytest.raises(Refused, match="removed or replaced"):
                journal.record([make_request(2)])
            shutil.copytree(tmp_path / "copy", place, dirs_exist_ok=True)
        shutil.rmtree(place)
        (tmp_path / "aside").rename(place)
        journal.record([make_request(3)])


def test_an_error_does_not_end_in_a_new_file_when_the_old_one_was_removed(tmp_path):
    path = tmp_path / "journal.sqlite3"
    journal = SqliteJournal(path, keep_seconds=3600.0, keep_max=100)
    journal.open()
    journal.record([make_request(1)])
    path.unlink()
    journal._database.drop_writer()

    with pytest.raises(Refused, match="removed or replaced"):
        journal.record([make_request(2)])
    assert not path.exists()
    journal.close(1)


def test_two_that_close_the_journal_at_once_do_not_hurt_each_other(tmp_path, monkeypatch):
    journal = SqliteJournal(tmp_path / "journal.sqlite3", keep_seconds=3600.0, keep_max=100)
    journal.open()
    journal.record([make_request(1)])
    write_again = database._write_again

    def meet_another(log: Path) -> None:
        monkeypatch.setattr(database, "_write_again", write_again)
        assert journal.close(10)
        write_again(log)

    monkeypatch.setattr(database, "_write_again", meet_another)
    assert journal.close(10)
    with opened(tmp_path / "journal.sqlite3") as found:
        assert open_ids(found) == ["id-1"]


def test_after_an_error_of_the_disk_log_and_file_are_written_again_and_else_the_log_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite moves a part of the log without a sync; the sync that would have covered it failed."""
    written: list[str] = []
    again = database._write_again

    def note(path: Path) -> None:
        written.append(path.name)
        again(path)

    with opened(tmp_path / "journal.sqlite3") as journal:
        journal.record([make_request(1)])
        monkeypatch.setattr(database, "_write_again", note)
        journal._database.drop_writer()
        journal.record([make_request(2)])
        assert written == ["journal.sqlite3-wal", "journal.sqlite3"]
        written.clear()
    assert written == ["journal.sqlite3-wal"]


def test_what_comes_after_a_commit_that_failed_is_not_written_over_its_remains(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut between could mix the two, and not every mixture would be noticed."""
    monkeypatch.setattr(Room, "free", 1 << 40)
    log = small_disk.place / "journal.sqlite3-wal"
    with opened(small_disk.journal) as journal:
        journal.record([make_request(number, event=b"x" * 4000) for number in range(40)])
        before = log.stat().st_size
        small_disk.fill()
        with pytest.raises(Refused, match="disk full"):
            journal.record([make_request(number, event=b"x" * 4000) for number in range(50, 150)])
        small_disk.free()
        journal.record([make_request(200)])

        assert 0 < log.stat().st_size < before


def test_a_start_after_a_kill_begins_a_new_log(tmp_path: Path) -> None:
    """What the killed one was about to commit may stand in the old one."""
    with opened(tmp_path / "journal.sqlite3") as journal:
        journal.record([make_request(number, event=b"x" * 4000) for number in range(40)])
        (tmp_path / "killed").mkdir()
        for part in tmp_path.glob("journal.sqlite3*"):
            shutil.copy(part, tmp_path / "killed" / part.name)
    log = tmp_path / "killed" / "journal.sqlite3-wal"
    before = log.stat().st_size

    with opened(tmp_path / "killed" / "journal.sqlite3") as journal:
        journal.record([make_request(41)])
        assert 0 < log.stat().st_size < before
        assert len(open_ids(journal)) == 41
