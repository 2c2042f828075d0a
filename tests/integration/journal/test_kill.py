"""Kill -9 at any moment: what was acknowledged is there, once, in order."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lambda_builder.builds import BuildState
from tests.journals import make_request, open_ids, opened, raw
from tests.waiting import wait_until

LOAD = Path(__file__).with_name("load.py")
THREADS = 8


class Child:
    """A process that works on the journal and says what was acknowledged."""

    def __init__(self, path: Path, first: int) -> None:
        self.said: list[list[Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, str(LOAD), str(path), str(first), str(THREADS)],
            stdout=subprocess.PIPE,
            cwd=LOAD.parents[3],
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._reader.join(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    self.said.append(json.loads(line))


def crash_again_and_again(
    path: Path, kills: int, seed: int, *, enough: int = 500
) -> list[list[Any]]:
    """Kill one process after the other at random moments; returns all that they said.

    On a busy machine it takes more of them, at most three times ``kills``, to record ``enough``.
    """
    moments = random.Random(seed)
    said: list[list[Any]] = []
    for number in range(3 * kills):
        if number >= kills and sum(words[0] == "recorded" for words in said) > enough:
            break
        child = Child(path, first=number * 1_000_000)
        if moments.random() < 0.8:
            wait_until(partial(getattr, child, "said"), "the child's first words")
        threading.Event().wait(moments.uniform(0.0, 0.15))  # the moment is what is tested
        child.kill()
        said += child.said
    return said


@pytest.mark.parametrize("seed", [1])
def test_what_was_acknowledged_before_a_kill_is_there_afterwards_once(tmp_path, seed):
    path = tmp_path / "journal.sqlite3"

    said = crash_again_and_again(path, kills=30, seed=seed)

    check(path, said)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 12))
def test_no_moment_to_kill_is_a_bad_one(tmp_path, seed):
    path = tmp_path / "journal.sqlite3"

    said = crash_again_and_again(path, kills=100, seed=seed)

    check(path, said)


def check(path: Path, said: list[list[Any]]) -> None:
    recorded, attempted, reopened = (
        [words[1] for words in said if words[0] == what]
        for what in ("recorded", "attempted", "reopened")
    )
    assert len(recorded) > 500, "the children hardly worked"
    with opened(path) as journal:
        results = {number: journal.find(make_request(number).event_hash) for number in recorded}
        assert None not in results.values(), "what was acknowledged is gone"
        for number, result in results.items():
            assert result.request == make_request(number)
        assert all(results[number].attempts for number in attempted if not may_be_reopened(number))
        assert all(results[number].state is BuildState.QUEUED for number in reopened)
        ids = open_ids(journal)
        messages = journal.outbox.due(1e12, 1_000_000, "sink")
        created = journal.finished(states=("created",), limit=1_000_000)
    assert len(ids) == len(set(ids))
    assert len({message.key for message in messages}) == len(messages)
    told = {message.key for message in messages}
    assert told == {result.request.event_hash for result in created}
    assert_in_order([int(event_id[3:]) for event_id in ids], set(reopened))
    with raw(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(path.parent.glob("*.corrupt-*")), "a kill must never look like damage"


def assert_in_order(numbers: list[int], reopened: set[int]) -> None:
    """Each thread of each process recorded one build after the other."""
    for thread in range(THREADS):
        own = [n for n in numbers if n % THREADS == thread and not may_be_reopened(n)]
        assert own == sorted(own)
    assert reopened <= set(numbers)


def may_be_reopened(number: int) -> bool:
    """Such a build can be at its old place or a new one, whatever was acknowledged."""
    return number % 10 == 2
