"""Ways to the database: over TLS, and through pgbouncer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from lambda_builder.errors import BootError, Refused
from tests.certificates import Certificate
from tests.journals import make_request, shared_journal
from tests.pgbouncer import pgbouncer
from tests.programs import needs
from tests.tls_proxy import tls_in_front_of

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
def through_pgbouncer(postgres_server, postgres_url, journal_database) -> Iterator[Over]:
    """Starts pgbouncer in one of its modes; returns the journal's URL through it."""
    with contextlib.ExitStack() as stack:
        yield lambda mode: stack.enter_context(pgbouncer(postgres_server, journal_database, mode))


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
