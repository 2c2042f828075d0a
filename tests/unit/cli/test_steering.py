"""All builds that filters mean: those that were counted, told of though it is interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from lambda_builder.cli.commands import main
from lambda_builder.cli.exits import Exit
from lambda_builder.client import Client
from tests.scripted import Scripted


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    service = Scripted()
    yield service
    service.close()


def newest(accepted_at: str | None) -> dict[str, Any]:
    """Return a page with one build."""
    build = {"job_name": "j", "correlation_id": "c", "state": "failed", "attempts": 1,
             "third_party_id": "t", "parser_id": "p", "accepted_at": accepted_at,
             "event": {"id": "1", "source": "s", "type": "t"}}  # fmt: skip
    return {"items": [build], "next_cursor": "more"}


def bulk(matched: int, done: int, *refused: str) -> dict[str, Any]:
    told = [{"job_name": name, "code": "c", "detail": "d"} for name in refused]
    return {"matched": matched, "done": done, "refused": told}


def steer(scripted: Scripted, *options: str) -> Result:
    command = ["jobs", "retry", "--all-matching", "--url", scripted.url, "-o", "json", *options]
    return CliRunner().invoke(main, command)


def asked(scripted: Scripted) -> list[tuple[str, dict[str, list[str]]]]:
    parts = [urlsplit(path) for _, path, _, _ in scripted.requests]
    return [(part.path, parse_qs(part.query)) for part in parts]


def test_only_builds_that_were_there_when_they_were_counted_are_meant(scripted) -> None:
    scripted.answer(newest("2026-11-24T06:00:00.123Z"))
    scripted.answer(bulk(2, 0))
    scripted.answer(bulk(2, 2))
    assert json.loads(steer(scripted, "--state", "failed").stdout) == bulk(2, 2)
    (_, listed), (_, counted), (_, steered) = asked(scripted)
    assert (listed["state"], listed["limit"]) == (["failed"], ["1"])
    assert counted["until"] == steered["until"] == ["2026-11-24T06:00:00.124+00:00"]


def test_a_time_that_was_given_stays_where_nothing_is_there(scripted) -> None:
    scripted.answer({"items": [], "next_cursor": None})
    scripted.answer(bulk(0, 0))
    steer(scripted, "--until", "2026-11-24T06:00:00Z")
    assert asked(scripted)[1][1]["until"] == ["2026-11-24T06:00:00Z"]


def test_where_no_filter_is_given_no_time_takes_the_place_of_one(scripted) -> None:
    scripted.refuse(400, "invalid_parameter")
    assert steer(scripted).exit_code == Exit.FAILED
    assert asked(scripted) == [("/async-jobs/retry", {"dry_run": ["true"]})]


def test_it_goes_on_until_all_that_were_counted_are_done_and_no_further(scripted) -> None:
    scripted.answer(newest("2026-11-24T06:00:00Z"))
    scripted.answer(bulk(5, 0))
    scripted.answer(bulk(5, 2, "a"))
    scripted.answer(bulk(3, 1, "a", "b"))
    scripted.answer(bulk(9, 9))
    done = steer(scripted, "--q", "x")
    assert json.loads(done.stdout) == bulk(5, 3, "a", "b")
    assert done.exit_code == Exit.FAILED
    assert len(scripted.requests) == 4


def test_what_was_done_is_told_where_the_service_goes_away_meanwhile(scripted) -> None:
    scripted.answer(newest("2026-11-24T06:00:00Z"))
    scripted.answer(bulk(5, 0))
    scripted.answer(bulk(5, 2))
    scripted.break_off()
    done = steer(scripted, "--q", "x")
    assert json.loads(done.stdout) == bulk(5, 2)
    assert done.exit_code == Exit.AWAY


def test_what_was_done_is_told_where_it_is_interrupted(scripted, monkeypatch) -> None:
    scripted.answer(newest("2026-11-24T06:00:00Z"))
    scripted.answer(bulk(5, 0))
    scripted.answer(bulk(5, 2))

    retry_all = Client.retry_all

    def interrupted(self: Client, **options: Any) -> Any:
        if len(scripted.requests) == 3:
            raise KeyboardInterrupt
        return retry_all(self, **options)

    monkeypatch.setattr(Client, "retry_all", interrupted)
    done = steer(scripted, "--q", "x")
    assert json.loads(done.stdout) == bulk(5, 2)
    assert done.exit_code == Exit.INTERRUPTED
