"""Log lines: one form for all, whole under load, and never a reason for anything to fail."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lambda_builder.builds import BuildRequest
from lambda_builder.telemetry import logs


@pytest.fixture(autouse=True)
def configuration_of_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_those_of_libraries_have_the_same_form() -> None:
    stream = io.StringIO()
    logs.configure(json_lines=True, level="info", stream=stream)
    structlog.get_logger().info("ours", job_name="build-x")
    logging.getLogger("gunicorn.error").warning("theirs %s", 1)
    ours, theirs = lines_of(stream)
    assert ours.pop("timestamp")[:4] == theirs.pop("timestamp")[:4]
    assert ours == {"event": "ours", "level": "info", "job_name": "build-x"}
    assert theirs == {"event": "theirs 1", "level": "warning"}


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logs.configure(json_lines=True, level="warning", stream=stream)
    structlog.get_logger().info("unheard")
    logging.getLogger("library").info("unheard too")
    structlog.get_logger().warning("heard")
    assert [line["event"] for line in lines_of(stream)] == ["heard"]


@pytest.mark.parametrize(
    "library", ["urllib3.connectionpool", "psycopg", "psycopg.pool", "psycopg_pool.sched"]
)
def test_libraries_do_not_repeat_what_our_own_lines_say_better(library: str) -> None:
    stream = io.StringIO()
    logs.configure(json_lines=True, level="debug", stream=stream)
    logging.getLogger(library).warning("discarding closed connection")
    logging.getLogger(library).error("broken")
    assert [line["event"] for line in lines_of(stream)] == ["broken"]


@pytest.mark.parametrize("give", ["exception", "error"])
def test_an_exception_comes_with_its_traceback_in_the_same_line(give: str) -> None:
    stream = io.StringIO()
    logs.configure(json_lines=True, level="info", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError as error:
        if give == "exception":
            structlog.get_logger().exception("crashed")
        else:
            structlog.get_logger().error("crashed", exc_info=error)
    [line] = lines_of(stream)
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert line["exception"][0]["frames"]


def test_the_console_form_is_for_people() -> None:
    stream = io.StringIO()
    logs.configure(json_lines=False, level="info", stream=stream)
    structlog.get_logger().info("started", port=8080)
    assert "started" in stream.getvalue()
    assert "port=8080" in stream.getvalue()


def test_lines_of_many_threads_are_whole() -> None:
    stream = io.StringIO()
    logs.configure(json_lines=True, level="info", stream=stream)
    together = threading.Barrier(8)

    def write(thread: int) -> None:
        together.wait()
        for number in range(50):
            structlog.get_logger().info("line", thread=thread, number=number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    assert len({(line["thread"], line["number"]) for line in lines_of(stream)}) == 400


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [Full(), Closed()], ids=["full", "closed"])
def test_a_log_that_cannot_be_written_harms_nobody(stream: io.StringIO) -> None:
    logs.configure(json_lines=True, level="info", stream=stream)
    structlog.get_logger().info("lost")
    structlog.get_logger().error("lost too", exc_info=ValueError("x"))


any_text = st.text(st.characters(), max_size=30)


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(any_text, any_text, any_text)
@example('"}\n{"level": "critical', "\u2028\x85\r\n", '\ud800", "level": "x')
def test_nothing_that_was_sent_forges_a_line_or_a_field_of_one(event_id, parser_id, said) -> None:
    stream = io.StringIO()
    logs.configure(json_lines=True, level="info", stream=stream)
    request = BuildRequest(
        event_id=event_id,
        event_source="s",
        event_type="t",
        parser_id=parser_id,
        third_party_id=parser_id,
        correlation_id=event_id,
        event_hash="0",
        job_name="build-x",
    )
    structlog.get_logger().info("told", error=said, **request.log_fields())
    logging.getLogger("gunicorn.error").warning("Invalid request: %s", said)
    ours, theirs = (json.loads(line) for line in stream.getvalue().split("\n")[:-1])
    assert ours.keys() - request.log_fields().keys() == {"event", "level", "timestamp", "error"}
    assert (ours["event"], ours["level"], ours["error"]) == ("told", "info", said)
    assert (ours["event_id"], ours["parser_id"]) == (event_id, parser_id)
    assert theirs.keys() == {"event", "level", "timestamp"}
    assert theirs["event"] == f"Invalid request: {said}"
