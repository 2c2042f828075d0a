"""What goes wrong on the command line is told in one sentence, with what to do.

In a process for one of each, else in this one: the command is the same.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from lambda_builder.cli.commands import main
from lambda_builder.client import Client, Unreachable
from tests.acceptance.test_cli import run
from tests.processes import ServiceProcess, free_port

AWAY, NOT_FOUND = 3, 5
PYTHONS_OWN = ("Traceback", "Error(", "Exception", "object at", "HTTPConnection", "_ssl.c")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LAMBDA_BUILDER_URL", "LAMBDA_BUILDER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def error_of(code: int, *arguments: str, **environment: str) -> str:
    """Return the one line that a command says which fails with this code."""
    done = CliRunner(env=environment).invoke(main, arguments)
    assert isinstance(done.exception, SystemExit), done.exception
    return the_error(code, done.exit_code, done.stdout, done.stderr)


def the_error(expected: int, code: int, told: str, complaint: str) -> str:
    assert (code, told) == (expected, ""), complaint
    (line,) = complaint.splitlines()
    assert line.startswith("Error: ")
    assert not [word for word in PYTHONS_OWN if word in line]
    return line


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Have one request answered with these bytes; yields the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize("command", [["list"], ["stats"], ["show", "x"], ["logs", "-f", "x"]])
def test_a_service_that_does_not_run(command: list[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    expected = (
        f"Error: {url} does not answer (Connection refused): start the service there, or name "
        "another with --url."
    )
    assert error_of(AWAY, "jobs", "--url", url, *command) == expected
    if command == ["list"]:
        done = run("jobs", "--url", url, *command)
        assert the_error(AWAY, done.returncode, done.stdout, done.stderr) == expected


@pytest.mark.parametrize("url", ["localhost:8080", "nowhere", "http://", "", "http://[::1"])
def test_an_address_that_is_none(url: str) -> None:
    assert error_of(AWAY, "jobs", "--url", url, "stats") == (
        f"Error: {url.rstrip('/')!r} is not the address of a service: give the service's, like "
        "http://localhost:8080, with --url."
    )


def test_a_service_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unreachable) as caught:
            Client(url, timeout=0.2, patience=0).stats()
    assert str(caught.value) == f"{url} has not answered within 0.2 seconds"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n<h1>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<h1>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_something_else_at_that_address(answer: bytes) -> None:
    with answering(answer) as url:
        said = error_of(AWAY, "jobs", "--url", url, "stats")
    status = answer.split()[1].decode()
    assert said == (
        f"Error: {url} answered {status}, but not as lambda-builder does: give the service's, like "
        "http://localhost:8080, with --url."
    )


@pytest.mark.parametrize("command", [["stats"], ["logs", "-f", "x"]])
@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
)
def test_an_answer_that_breaks_off(answer: bytes, command: list[str]) -> None:
    with answering(answer) as url:
        said = error_of(AWAY, "jobs", "--url", url, *command)
    assert said == (
        f"Error: {url} broke off before its answer was complete: start the service there, or name "
        "another with --url."
    )


def test_tls_where_there_is_none() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        said = error_of(AWAY, "jobs", "--url", url.replace("http:", "https:"), "stats")
    assert "does not answer (TLS: " in said


def test_a_build_that_nobody_knows(service: ServiceProcess) -> None:
    for command in ("show", "cancel", "retry", "logs"):
        said = error_of(NOT_FOUND, "jobs", "--url", service.url, command, "nobody")
        assert said.startswith("Error: not_found: ")


def test_a_service_of_which_the_environment_says_where_it_is() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert url in error_of(AWAY, "jobs", "list", LAMBDA_BUILDER_URL=url)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"PORT": "many"}, "PORT: must be a whole number, is 'many'"),
        ({"LAMBDA_BUILDER_JOURNAL_URL": "x://y"}, "JOURNAL_URL: must be a postgresql:// URL"),
        (
            {
                "LAMBDA_BUILDER_JOURNAL_URL": "postgresql://y",
                "LAMBDA_BUILDER_JOURNAL_PASSWORD_FILE": "/nowhere",
            },
            "JOURNAL_PASSWORD_FILE cannot be read: ",
        ),
        ({"LAMBDA_BUILDER_JOB_TEMPLATE": "/nowhere"}, "JOB_TEMPLATE=/nowhere is no Job template"),
    ],
)
@pytest.mark.parametrize("command", ["check-config", "dev", "serve"])
def test_settings_that_cannot_work(settings: dict[str, str], told: str, command: str) -> None:
    if command == "check-config" and "PORT" not in settings:
        invoked = CliRunner(env=settings).invoke(main, [command])
        code, out, complaint = invoked.exit_code, invoked.stdout, invoked.stderr
    else:
        done = run(command, **settings)
        code, out, complaint = done.returncode, done.stdout, done.stderr
    assert (code, out) == (2, "")
    assert told in complaint
    assert "Traceback" not in complaint


def test_a_place_where_no_kubeconfig_can_be_written(tmp_path: Path) -> None:
    done = run("dev", "--kubeconfig", str(tmp_path / "nowhere" / "config"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"Error: Invalid value for '--kubeconfig': nothing can be written to {tmp_path}/nowhere."
    )
