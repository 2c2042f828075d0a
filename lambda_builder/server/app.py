"""The application for gunicorn: from the environment, or a plain message and no restart."""

from __future__ import annotations

import os

import structlog
from flask import Flask

from lambda_builder.server.boot import APP_LOAD_ERROR, refusing_to_boot
from lambda_builder.server.start_warnings import warnings_of
from lambda_builder.settings import load
from lambda_builder.wiring import create_app


def create_app_from_environment() -> Flask:
    """Build the service as the environment says; ends the process when that cannot work."""
    with refusing_to_boot(APP_LOAD_ERROR):
        settings = load()
        for event, reason in warnings_of(settings, os.environ):
            structlog.get_logger().warning(event, reason=reason)
        return create_app(settings)
