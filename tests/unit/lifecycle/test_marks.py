"""Marks of what was announced: not too fast, unless many wait."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle import marks
from lambda_builder.lifecycle.marks import JobMarks


def record(uid: str) -> JobRecord:
    return JobRecord(f"name-{uid}", b"", uid, b"", b"", BuildState.SUCCEEDED)


class Api:
    """Watch and Jobs in one: every Job is there, and says nothing yet."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def by_name(self, name: str) -> JobRecord:
        return record(name.removeprefix("name-"))

    def patch_annotations(self, name: str, _annotations: Any, _uid: str) -> bool:
        self.written.append(name)
        return True


def written_at_once(waiting: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(marks, "_GAP_SECONDS", 60.0)
    api: Any = Api()
    made = JobMarks(api, api, available=lambda: True, also=lambda _record: {})
    for number in range(waiting):
        made.add(record(str(number)), "complete")
    while made.write_next():
        pass
    assert made.pause(90.0) > 50.0
    return len(api.written)


def test_there_is_a_gap_between_marks(monkeypatch):
    assert written_at_once(marks._BEHIND, monkeypatch) == 1


def test_there_is_none_while_many_ends_wait(monkeypatch):
    assert written_at_once(marks._BEHIND + 5, monkeypatch) == 6
