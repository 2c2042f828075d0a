"""The service's configuration, read once from the environment; docs/settings.rst lists it."""

from lambda_builder.settings.constants import (
    BUILD_EVENT_TYPES,
    CANCEL_EVENT_TYPES,
    CLOSING_SECONDS,
    COMMAND_EVENT_TYPES,
    HTTP_TAIL_SECONDS,
    PREFIX,
    RETRY_EVENT_TYPES,
)
from lambda_builder.settings.model import Settings
from lambda_builder.settings.reading import load
from lambda_builder.settings.values import Rate, without_secrets
from lambda_builder.settings.variables import unknown_variables, variables

__all__ = [
    "BUILD_EVENT_TYPES",
    "CANCEL_EVENT_TYPES",
    "CLOSING_SECONDS",
    "COMMAND_EVENT_TYPES",
    "HTTP_TAIL_SECONDS",
    "PREFIX",
    "RETRY_EVENT_TYPES",
    "Rate",
    "Settings",
    "load",
    "unknown_variables",
    "variables",
    "without_secrets",
]
