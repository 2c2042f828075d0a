"""Ways to the database: over TLS, and through pgbouncer."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator

import psycopg
import pytest

from lambda_builder.errors import BootError, Refused
from tests.certificates import Certificate
from tests.journals import make_request, shared_journal
from tests.postgres_server import USER
from tests.processes import free_port
from tests.programs import needs
from tests.tls_proxy import tls_in_front_of
from tests.waiting import wait_until

Over = Callable[..., str]


@pytest.fixture
def authority() -> Certificate:
    return Certificate.authority("authority")


@pytest.fixture
def over_tls(postgres_server, postgres_url, authority, tmp_path) -> Iterator[Over]:
    """Returns the journal's URL over TLS, with parameters of libpq."""
    certificate = authority.issue("localhost")
    with tls_in_front_of(postgres_server.port, certificate, tmp_path) as port:
        host = postgres_url.replace(f"127.0.0.1:{postgres_server.port}", f"localhost:{port}")
        yield lambda **parameters: f"{host}?{'&'.join(f'{k}={v}' for k, v in parameters.items())}"


def test_a_server_that_shows_a_certificate_of_its_authority_is_taken(over_tls, authority, tmp_path):
    file, _ = authority.write(tmp_path)
    journal = shared_journal(over_tls(sslmode="verify-full", sslrootcert=file))
    journal.open()
    try:
        assert journal.record([make_request(1)]) == {}
        assert journal.find(make_request(1).event_hash) is not None
        assert journal._lanes[0]._connection.pgconn.ssl_in_use
    finally:
        assert journal.close(10.0)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"hostaddr": "127.0.0.1", "host": "other.example"}, 'does not match host name "other'),
        ({"sslrootcert": "stranger"}, "certificate verify failed"),
    ],
)
def test_a_server_that_shows_another_certificate_is_not_spoken_to(
    over_tls, authority, tmp_path, parameters, reason
):
    file, _ = authority.write(tmp_path)
    if "sslrootcert" in parameters:
        file, _ = Certificate.authority("stranger").write(tmp_path)
    url = over_tls(**{**parameters, "sslmode": "verify-full", "sslrootcert": file})
    with pytest.raises(Refused, match=reason):
        shared_journal(url).open()


@pytest.fixture
def through_pgbouncer(postgres_server, postgres_url) -> Iterator[Over]:
    """Starts pgbouncer in one of its modes; returns the journal's URL through it."""
    with contextlib.ExitStack() as stack:

        def start(mode: str) -> str:
            port = free_port()
            folder = stack.enter_context(postgres_server.folder())
            (folder / "users.txt").write_text('"postgres" ""\n')
            file = folder / "pgbouncer.ini"
            file.write_text(
                f"[databases]\n* = host=127.0.0.1 port={postgres_server.port}\n"
                f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
                f"auth_type = trust\nauth_file = {folder}/users.txt\npool_mode = {mode}\n"
            )
            process = subprocess.Popen(
                ["pgbouncer", "-q", str(file)],
                user=USER if os.geteuid() == 0 else None,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait, 10)
            stack.callback(process.kill)
            url = postgres_url.replace(f":{postgres_server.port}/", f":{port}/")
            wait_until(lambda: answers(url), "pgbouncer", 20)
            return url

        yield start


def answers(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return True
    return False


@needs("pgbouncer")
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_pgbouncer_that_lends_sessions_stops_the_start(through_pgbouncer, mode):
    with pytest.raises(BootError, match="pooler in transaction mode"):
        shared_journal(through_pgbouncer(mode)).open()


@needs("pgbouncer")
def test_a_journal_works_through_pgbouncer_in_session_mode(through_pgbouncer):
    url = through_pgbouncer("session")
    first, second = (shared_journal(url, name) for name in ("first", "second"))
    with contextlib.ExitStack() as stack:
        for each in (first, second):
            each.open()
            stack.callback(each.close, 10.0)
        assert first.record([make_request(1)]) == {}
        assert set(second.record([make_request(1)])) == {make_request(1).event_hash}
