"""The application for gunicorn: from the environment, or a plain message and no restart."""

from __future__ import annotations

import os

import structlog
from flask import Flask

from lambda_builder.server.boot import APP_LOAD_ERROR, refusing_to_boot
from lambda_builder.settings import Settings, load, unknown_variables
from lambda_builder.wiring import create_app

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def create_app_from_environment() -> Flask:
    """Build the service as the environment says; ends the process when that cannot work."""
    with refusing_to_boot(APP_LOAD_ERROR):
        settings = load()
        for variable, nearest in unknown_variables(os.environ):
            structlog.get_logger().warning("unknown_setting", variable=variable, nearest=nearest)
        if is_open_to_others(settings):
            structlog.get_logger().warning(
                "open_to_everybody",
                reason="AUTH_FILE is empty: whoever reaches this address may do everything",
                host=settings.host,
            )
        return create_app(settings)


def is_open_to_others(settings: Settings) -> bool:
    """Return whether everybody may do everything, and others than this machine can reach it."""
    return settings.auth_file is None and settings.host not in _LOOPBACK
