"""A real pgbouncer in front of a database server."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import psycopg

from tests.postgres_server import USER, PostgresServer
from tests.processes import free_port
from tests.waiting import wait_until


@contextlib.contextmanager
def pgbouncer(server: PostgresServer, database: str, mode: str) -> Iterator[str]:
    """Start pgbouncer in one of its modes; gives the database's URL through it."""
    port = free_port()
    with server.folder() as folder:
        (folder / "users.txt").write_text('"postgres" ""\n')
        file = folder / "pgbouncer.ini"
        file.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {folder}/users.txt\npool_mode = {mode}\n"
        )
        process = subprocess.Popen(
            ["pgbouncer", "-q", str(file)],
            user=USER if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = server.url(database).replace(f":{server.port}/", f":{port}/")
        try:
            wait_until(lambda: _answers(url), "pgbouncer", 20)
            yield url
        finally:
            process.kill()
            process.wait(10)


def _answers(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return True
    return False
