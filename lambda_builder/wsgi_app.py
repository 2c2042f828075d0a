"""The application for gunicorn: from the environment, or a plain message and no restart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from lambda_builder.errors import BootError
from lambda_builder.settings import load
from lambda_builder.wiring import create_app

_APP_LOAD_ERROR = 4
"""gunicorn's code for a worker that must not be started again."""


@contextmanager
def refusing_to_boot() -> Iterator[None]:
    """Turn a ``BootError`` into its message on standard error and gunicorn's exit code 4."""
    try:
        yield
    except BootError as error:
        sys.stderr.write(f"lambda-builder: {error}\n")
        sys.stderr.flush()
        sys.exit(_APP_LOAD_ERROR)


def create_app_from_environment() -> Flask:
    """Build the service as the environment says; ends the process when that cannot work."""
    with refusing_to_boot():
        return create_app(load())
    raise AssertionError("unreachable")
