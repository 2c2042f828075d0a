"""What the server's loop does of an answer waits for nothing: no disk, and no thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from lambda_builder.devcluster import DevCluster
from lambda_builder.journal.changes import Ticket
from lambda_builder.journal.sqlite.database import Database
from lambda_builder.web.answers import Answer
from lambda_builder.web.events import ShortWay
from tests.integration.service.conftest import TYPE, Running

Start = Callable[..., Running]
CANCEL = "network.notifi.lambda.build.cancel"


class Loop:
    """Answers as the server does, in this thread, in which nothing may be waited for meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._is_inside = False
        self.threads = 0
        """Answers that took a thread."""
        thread = threading.current_thread()
        for owner, name in (
            (Database, "fetch"),
            (Ticket, "wait"),
            (threading.Condition, "wait"),
            (threading.Thread, "join"),
        ):
            monkeypatch.setattr(owner, name, self._guarded(thread, getattr(owner, name)))

    def _guarded(self, thread: threading.Thread, wait: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            assert not (self._is_inside and threading.current_thread() is thread), wait
            return wait(*arguments, **options)

        return guarded

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False

    def post(self, running: Running, event_id: str, body: bytes = b"", **headers: str) -> Answer:
        body = body or json.dumps({"parser_id": f"parser-{event_id}"}).encode()
        named = {"Ce-Id": event_id, "Ce-Source": "network.notifi.acme", "Ce-Type": TYPE}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        builder = EnvironBuilder("/events", method="POST", headers=[*named.items()], data=body)
        builder.content_type = "application/json"
        way = running.app.wsgi_app
        assert isinstance(way, ShortWay)
        begin = way.begins("POST", "/events")
        assert begin is not None
        work = begin(builder.get_environ())
        while True:
            with self._inside():
                pause = work.go_on()
            if work.is_over:
                return work.result
            if pause is None:
                self.threads += 1
                with ThreadPoolExecutor(1) as pool:
                    return pool.submit(work.finish).result(20)
            over = threading.Event()
            pause.begin(over.set)
            assert over.wait(20)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


def test_new_events_and_those_sent_again_take_no_thread(
    start: Start, loop: Loop, tmp_path: Path
) -> None:
    running = start(journal_path=tmp_path / "journal.sqlite3")
    answers = [json.loads(loop.post(running, "1").body) for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["queued", "duplicate"]
    assert loop.threads == 0


def test_an_event_that_only_the_file_knows_is_looked_up_in_a_thread(
    start: Start, loop: Loop, tmp_path: Path
) -> None:
    settings = {"journal_path": tmp_path / "journal.sqlite3"}
    first = start(**settings)
    assert loop.post(first, "1").status == 200
    first.wait_for("1", *("created", "running"))  # type: ignore[arg-type]
    first.service.shutdown()
    again = loop.post(start(**settings), "1")
    assert json.loads(again.body)["status"] == "duplicate"
    assert loop.threads == 1


@pytest.mark.parametrize(
    ("settings", "event", "code"),
    [
        ({}, {"Ce_Type": "some.other.type"}, "unsupported_event_type"),
        ({}, {"body": b"{"}, "invalid_data"),
        ({"max_body_bytes": 65_536}, {"body": b"x" * 65_537}, "body_too_large"),
        ({"rate": "0.01/1"}, {}, "rate_limit"),
        ({"queue_size": 1, "worker_count": 1, "worker_count_max": 1}, {}, "queue_full"),
        ({"read_only": True}, {"Ce_Type": CANCEL, "body": b'{"job_name": "x"}'}, "read_only"),
    ],
)
def test_whatever_is_refused_waits_for_nothing_in_the_loop(
    cluster: DevCluster,
    start: Start,
    loop: Loop,
    tmp_path: Path,
    settings: dict[str, Any],
    event: dict[str, Any],
    code: str,
) -> None:
    cluster.outage()
    running = start(journal_path=tmp_path / "journal.sqlite3", **settings)
    # The worker that takes a build makes room for one event more, so that the first refusal for
    # want of room may come late.
    tries = 50 if code == "queue_full" else 2
    answers = (loop.post(running, str(number), **event) for number in range(tries))
    assert code in (json.loads(answer.body).get("code") for answer in answers)


def test_commands_are_kept_by_a_thread(start: Start, loop: Loop, tmp_path: Path) -> None:
    running = start(journal_path=tmp_path / "journal.sqlite3")
    body = json.dumps({"job_name": json.loads(loop.post(running, "1").body)["job_name"]}).encode()
    assert loop.post(running, "2", body, Ce_Type=CANCEL).status == 200
    assert loop.threads == 1
