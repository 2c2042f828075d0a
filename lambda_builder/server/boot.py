"""Refusing to boot: a plain message, and exit codes that keep gunicorn from trying again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lambda_builder.errors import BootError
from lambda_builder.lifecycle.signing import signer_of
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings, load
from lambda_builder.settings.database import check_password_file

CONFIG_ERROR = 2
"""Exit code of a process whose settings cannot work."""
APP_LOAD_ERROR = 4
"""gunicorn's code for a worker that must not be started again."""


@contextmanager
def refusing_to_boot(exit_code: int) -> Iterator[None]:
    """Turn a ``BootError`` into its message on standard error and ``exit_code``."""
    try:
        yield
    except BootError as error:
        sys.stderr.write(f"lambda-builder: {error}\n")
        sys.stderr.flush()
        sys.exit(exit_code)


def load_settings() -> Settings:
    """Return settings that can work, with the files that they name; else ends the process."""
    with refusing_to_boot(CONFIG_ERROR):
        settings = load()
        JobTemplate.from_settings(settings)
        if settings.auth_file is not None:
            # Only here: it takes time and memory to import.
            from lambda_builder.access.directory import Directory  # noqa: PLC0415

            Directory(settings.auth_file)
        signer_of(settings)
        check_password_file(settings.journal_password_file)
    return settings
