"""The database server: where it is, and how a connection to it is made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg
from psycopg import conninfo

from lambda_builder.errors import BootError

if TYPE_CHECKING:
    from psycopg.abc import PQGen

Answer = TypeVar("Answer")

OLDEST = 15
"""The oldest major version that is known to do."""
_DEFAULTS = {
    "connect_timeout": "3",
    "tcp_user_timeout": "8000",  # milliseconds
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
}
"""So that a server that is gone without a word is missed within seconds, and of several hosts that
which takes writes is found; what the URL says goes first."""
_SETTINGS = (
    "SET statement_timeout = '5s'",
    "SET lock_timeout = '2s'",
    "SET idle_in_transaction_session_timeout = '10s'",
    "SET client_min_messages = warning",
    # Who waits for a lock has to see what its holder did.
    "SET default_transaction_isolation = 'read committed'",
)
"""Not as startup parameters, which some poolers refuse."""
_BACKEND = (
    "SELECT pid, extract(epoch FROM backend_start) FROM pg_stat_get_activity(pg_backend_pid())"
)


class Backend(NamedTuple):
    """The server's process behind a connection; no other is the same, also on another server.

    Asked of the server: a pooler tells its clients a process id of its own making.
    """

    pid: int
    started_at: Decimal
    """In seconds since the epoch, by the server's clock."""


class Hangs(psycopg.OperationalError):
    """The server said nothing for too long; what it was asked last may be done, or be done yet."""

    def __init__(self, backend: Backend | None) -> None:
        """``backend`` was asked; None where it was not known yet."""
        super().__init__("the database does not answer")
        self.backend = backend


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed with ``Hangs`` where the server says nothing for too long.

    The server's own timeouts do not end everything: not a commit that waits for a standby, and
    nothing in a server that is frozen while its system still answers.
    """

    patience_seconds = 6.0
    """Longer than any statement may take, but for those of ``more_patience``."""
    backend: Backend | None = None
    """Who answers it; None before ``configure``."""

    @contextlib.contextmanager
    def more_patience(self, seconds: float) -> Iterator[None]:
        """Wait at least so long for an answer meanwhile."""
        before = self.patience_seconds
        self.patience_seconds = max(before, seconds)
        try:
            yield
        finally:
            self.patience_seconds = before

    def wait(self, gen: PQGen[Answer], *args: Any, **kwargs: Any) -> Answer:
        """See ``psycopg.Connection.wait``."""
        return super().wait(self._patiently(gen), *args, **kwargs)

    def _patiently(self, gen: PQGen[Answer]) -> PQGen[Answer]:
        """Go through ``gen``, which is called again after each bit of an answer, and without."""
        heard_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    heard_at = now
                elif now - heard_at > self.patience_seconds:
                    self.close()
                    raise Hangs(self.backend)
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


class Server:
    """Makes connections; thread-safe. Shows its password to nobody."""

    def __init__(self, url: str, *, name: str, password_file: Path | None = None) -> None:
        """``name`` is the replica's; ``password_file`` is read for each connection.

        Raises ``BootError`` for a URL that libpq does not understand.
        """
        try:
            given = conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            # Not with its text, which may show a part of the password.
            raise BootError("JOURNAL_URL is no PostgreSQL URL") from None
        self._password = given.pop("password", None)
        self._password_file = password_file
        self._parameters: dict[str, Any] = {
            **_DEFAULTS,
            "application_name": f"lambda-builder {name}",
            **{key: value for key, value in given.items() if value is not None},
        }

    def __str__(self) -> str:
        """Return what logs and errors may show."""
        known = self._parameters
        hosts = str(known.get("host", "local socket")).split(",")
        ports = str(known.get("port", "5432")).split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        where = ",".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False))
        return f"postgresql://{where}/{known.get('dbname', '')}"

    __repr__ = __str__

    def connect(self) -> Connection:
        """Return a new connection in autocommit mode, with its timeouts set.

        Raises ``psycopg.Error``, and ``OSError`` where the password cannot be read.
        """
        connection = Connection.connect("", autocommit=True, **self.parameters())
        try:
            configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def parameters(self) -> dict[str, Any]:
        """Return what to connect with, with the password of now; raises ``OSError``."""
        password = self._password
        if self._password_file is not None:
            password = self._password_file.read_text(encoding="utf-8").rstrip("\r\n")
        return self._parameters if password is None else {**self._parameters, "password": password}


def configure(connection: Connection) -> None:
    """Set what a new connection needs, and see whose it is; raises ``psycopg.Error``."""
    answers = connection.execute("; ".join((*_SETTINGS, _BACKEND)))
    while answers.nextset():
        pass
    connection.backend = Backend._make(answers.fetchall()[0])
