"""For every test: nothing may leak, and what needs a program that is missing says so."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

# First, as in the service: else rich draws each traceback in the log, which takes half a second.
import lambda_builder.server  # noqa: F401
from tests.programs import require, summary
from tests.waiting import wait_until

if TYPE_CHECKING:  # no test that needs no database waits for its client
    from tests.postgres_server import PostgresServer

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("suite", deadline=None, database=None)
hypothesis.settings.register_profile("soak", deadline=None, database=None, max_examples=3000)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def postgres_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of a fresh database server are, made once for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if base.name.startswith("popen-") else base) / "postgres"


@pytest.fixture(scope="session")
def postgres_server(postgres_files: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server that is not to be stopped."""
    from tests.postgres_server import running  # noqa: PLC0415

    with running(postgres_files) as server:
        yield server


@pytest.fixture(scope="session")
def journal_database(postgres_server: PostgresServer) -> str:
    """The name of a database with the journal's tables."""
    from lambda_builder.journal.postgres.schema import migrate  # noqa: PLC0415
    from lambda_builder.journal.postgres.server import Server  # noqa: PLC0415

    name = postgres_server.new_database()
    with Server(postgres_server.url(name), name="tests").connect() as connection:
        migrate(connection, name)
    return name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, journal_database: str) -> str:
    """Where a database is whose journal is empty; a new one takes ten times as long."""
    tables = ("builds", "replicas", "outbox", "commands", "audit", "rejections")
    deletes = "; ".join(f"DELETE FROM {table}" for table in tables)
    postgres_server.execute(deletes, database=journal_database)
    return postgres_server.url(journal_database)


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(
        lambda: set(threading.enumerate()) <= before,
        f"threads to end: {set(threading.enumerate()) - before}",
    )


def pytest_configure() -> None:
    gc.disable()  # what is loaded from now on stays


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    require(item.iter_markers("needs"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in summary(terminalreporter.getreports("skipped")):
        terminalreporter.write_line(line, yellow=True)
