"""What the HTTP client raises when there is no answer, as ``Unreachable``."""

from __future__ import annotations

import http.client

import urllib3.exceptions
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from lambda_builder.errors import FailureReason, Unreachable
from lambda_builder.kube.api_errors import shorten

# ApiException is what the client makes of a TLS failure, ConfigException of a token file that is
# gone. http.client's own come through while a body is read.
CONNECTION_ERRORS = (
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ApiException,
    ConfigException,
)
_TIMEOUTS = (urllib3.exceptions.TimeoutError, TimeoutError)
# A refused connection, which urllib3 takes for a kind of timeout.
_REFUSED = urllib3.exceptions.NewConnectionError


def unreachable(operation: str, error: BaseException) -> Unreachable:
    """Return the error that a connection failure of ``operation`` means."""
    if isinstance(error, _TIMEOUTS) and not isinstance(error, _REFUSED):
        return Unreachable(
            FailureReason.TIMEOUT, f"{operation}: no answer in time: {_cause(error)}"
        )
    return Unreachable(FailureReason.CONNECTION, f"{operation}: no answer: {_cause(error)}")


def _cause(error: BaseException) -> str:
    if isinstance(error, ApiException):
        return shorten(str(error.reason))
    # urllib3 puts the pool or connection, with its address in memory, in front.
    text = shorten(str(error))
    return text.rpartition(">: ")[2] if ">: " in text else text or type(error).__name__
