"""Signals on which gunicorn would change its processes: here there is one, and it stays.

A second worker, or a new one that starts while the old one drains, would have a queue of its own
and could not have the journal. A restart is SIGTERM and a new start.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

_CHANGE_NOTHING = ("ttin", "ttou", "usr2", "winch")
_NOT_FOR_WORKERS = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2)


def keep_one_process(arbiter: Any) -> None:
    """Let no signal but those that stop gunicorn start or end a process; before it runs."""

    def reopen_logs() -> None:
        arbiter.log.info("SIGHUP reopens log files; settings are read at start only")
        arbiter.handle_usr1()

    def ignore(name: str) -> Callable[[], None]:
        return lambda: arbiter.log.warning("SIG%s changes nothing", name.upper())

    arbiter.handle_hup = reopen_logs
    for name in _CHANGE_NOTHING:
        setattr(arbiter, f"handle_{name}", ignore(name))


def ignore_in_worker() -> None:
    """Let signals of a whole process group, as of a closed terminal, not end the worker."""
    for number in _NOT_FOR_WORKERS:
        signal.signal(number, signal.SIG_IGN)
