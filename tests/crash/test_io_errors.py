"""A call to the system fails: the journal refuses or does not open, and loses nothing by it.

The power may go on top. What a failed sync left unwritten may then never reach the disk, however
often the file is synced afterwards: the system has forgotten it.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.crash.loads import assert_nothing_lost, record_load
from tests.crash.recording import Recording
from tests.programs import needs

pytestmark = needs("strace")

CALLS = ("openat", "pread64,read", "pwrite64", "fdatasync,fsync", "ftruncate,unlink")


def record_with(place: Path, call: str, error: str, when: str, *, steps: int = 8) -> Recording:
    """Record a small load in three lives, each with calls that fail."""
    fault = f"--inject={call}:error={error}:when={when}"
    return record_load(place, 1, lives=3, steps=steps, strace=(fault,))


@pytest.mark.parametrize("when", ["3", "5+7"])
@pytest.mark.parametrize("call", CALLS)
def test_an_io_error_refuses_and_loses_nothing(place, call, when):
    recording = record_with(place, call, "EIO", when)
    if not recording.injected:  # on a busy machine there is less time to keep house in
        recording = record_with(place, call, "EIO", when, steps=40)

    assert recording.injected
    assert_nothing_lost(recording, place, 12, seed=1)


def test_what_a_failed_sync_left_out_of_the_log_is_not_moved_into_the_file_without_it(place):
    fault = "--inject=fdatasync,fsync:error=EIO:when=9+4"
    recording = record_load(place, 1, lives=3, steps=12, strace=(fault,))

    assert recording.injected
    assert_nothing_lost(recording, place, 80, seed=1)


@pytest.mark.parametrize("when", ["4+", "40+", "90+"])
def test_a_disk_that_is_full_from_some_write_on_refuses_and_loses_nothing(place, when):
    recording = record_with(place, "pwrite64", "ENOSPC", when)

    assert recording.injected
    assert_nothing_lost(recording, place, 12, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("call", "error", "form"),
    [
        *((call, "EIO", form) for call in CALLS for form in ("{}", "{}+")),
        ("pwrite64", "ENOSPC", "{}"),
        ("pwrite64", "ENOSPC", "{}+"),
    ],
)
def test_no_call_is_a_bad_one_to_fail(place, call, error, form):
    for number in itertools.count(1):
        recording = record_with(place, call, error, form.format(number))
        if not recording.injected:
            break
        assert_nothing_lost(recording, place, 8, seed=number)
    assert number > 2
