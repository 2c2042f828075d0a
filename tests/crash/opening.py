"""Opens a disk image as the service would, and reads all that is in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from structlog.testing import capture_logs

from lambda_builder.builds import BuildState
from lambda_builder.journal import Journal
from tests.crash.disk import Files
from tests.crash.promises import Kept, Promises
from tests.journals import make_request, opened, raw

NAME = "journal.sqlite3"
_ENDED = [state.value for state in BuildState if not state.waits]


def faults(files: Files, promises: Promises, place: Path, *, damaged: bool) -> list[str]:
    """Say what is wrong with the journal in ``files``; ``place`` is made for it and removed.

    With ``damaged`` the file may have to be rebuilt.
    """
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    try:
        with capture_logs():
            return list(_faults(place / NAME, promises, damaged=damaged))
    finally:
        shutil.rmtree(place)


def _faults(path: Path, promises: Promises, *, damaged: bool) -> Iterator[str]:
    with opened(path, keep_seconds=1e12, keep_max=1_000_000) as journal:
        found, order = read(journal)
        yield from promises.broken(found, order)
        if journal.stats()["moved_aside"] and not damaged:
            yield "it was taken for damaged"
        one_more = make_request(123_456_789)
        journal.record([one_more])
        if journal.find(one_more.event_hash) is None:
            yield "it takes no more builds"
    with raw(path) as connection:
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            yield "the file is not whole"


def read(journal: Journal) -> tuple[dict[str, Kept], list[str]]:
    """Return what is kept, by event hash, and the hashes of open builds in their order."""
    messages: dict[str, set[str]] = {}
    for key, message_id in journal._database.fetch("SELECT key, id FROM outbox"):
        messages.setdefault(key, set()).add(message_id)
    builds: dict[str, tuple[str, int]] = {}
    order = []
    for build in journal.open_builds(after_seq=0, limit=1_000_000, up_to_seq=1 << 62):
        order.append(build.request.event_hash)
        builds[order[-1]] = (BuildState.QUEUED.value, build.attempts)
    for result in journal.finished(states=_ENDED, limit=1_000_000):
        builds[result.request.event_hash] = (result.state.value, result.attempts)
    found = {}
    for event_hash in builds.keys() | messages.keys():
        state, attempts = builds.get(event_hash, (None, 0))
        found[event_hash] = Kept(state, attempts, frozenset(messages.get(event_hash, ())))
    return found, order
