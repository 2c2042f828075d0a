"""What the command line's exit codes mean; docs/command-line.rst has them for people."""

from __future__ import annotations

from enum import IntEnum

import click


class Exit(IntEnum):
    """How a command ended. ``serve`` and ``dev`` end as gunicorn does, after they have started."""

    DONE = 0
    """Done; of ``send`` all was accepted, of what waits for builds all have succeeded."""
    FAILED = 1
    """The service refused, or something else failed; the line on standard error says why."""
    USAGE = 2
    """The command was not written as it has to be, or settings or files cannot work."""
    AWAY = 3
    """The service cannot be reached, is somebody else, or has no room now: another time."""
    DENIED = 4
    """Credentials are missing or wrong, or do not allow it."""
    NOT_FOUND = 5
    """Nobody knows such a build."""
    NOT_BUILT = 6
    """A build that was waited for has not succeeded."""
    STILL_GOING = 7
    """A build that was waited for has not ended in time."""
    INTERRUPTED = 130
    """Ctrl-C."""


class Failure(click.ClickException):
    """Ends a command with one line and a code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # each has its own
