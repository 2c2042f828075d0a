"""tools/releases.py names what has had no release for long, by what the index says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tools import releases

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def project(*files: tuple[str, bool]) -> dict[str, Any]:
    return {
        "releases": {
            "0": [],
            **{
                str(number): [{"upload_time_iso_8601": at, "yanked": yanked}]
                for number, (at, yanked) in enumerate(files, 1)
            },
        }
    }


def test_a_project_is_named_once_its_last_release_is_eighteen_months_old() -> None:
    answers = {
        "alive": project(("2019-01-01T00:00:00Z", False), ("2026-06-01T00:00:00.5Z", False)),
        "just-alive": project(("2025-01-01T00:00:00.000000Z", False)),
        "asleep": project(("2024-12-01T00:00:00Z", False), ("2012-01-01T00:00:00Z", False)),
        "taken-back": project(("2024-01-01T00:00:00Z", False), ("2026-06-01T00:00:00Z", True)),
        "never": project(),
    }
    assert list(releases.without_release(answers, NOW)) == [
        ("asleep", datetime(2024, 12, 1, tzinfo=UTC)),
        ("taken-back", datetime(2024, 1, 1, tzinfo=UTC)),
        ("never", None),
    ]


def test_every_pin_of_the_lock_is_asked_for() -> None:
    names = releases.pinned(releases.LOCK.read_text())
    assert {"flask", "gunicorn", "kubernetes"} <= set(names)
    assert len(names) == len(set(names)) > 50
