"""For every test: nothing may leak, and what needs a program that is missing says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import hypothesis
import pytest

from tests.programs import require, summary
from tests.waiting import wait_until

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("suite", deadline=None, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(
        lambda: set(threading.enumerate()) <= before,
        f"threads to end: {set(threading.enumerate()) - before}",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    require(item.iter_markers("needs"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in summary(terminalreporter.getreports("skipped")):
        terminalreporter.write_line(line, yellow=True)
