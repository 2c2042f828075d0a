"""Where the API is and how to speak to it: KUBECONFIG, the default kubeconfig, or the pod's own.

The service account's token is read again every minute by the client's own hook; everything else
is read again by ``KubeClient`` when the API refuses it or cannot be reached.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, load_incluster_config
from kubernetes.config.kube_config import load_kube_config

from lambda_builder.errors import BootError

# What the client's loaders let through beside their own: files that are missing, no YAML, or of
# another shape.
_LOADING_ERRORS = (
    ConfigException,
    OSError,
    yaml.YAMLError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
)


def load_configuration(*, pool_size: int, environ: Mapping[str, str] | None = None) -> Any:
    """Read the client's ``Configuration``; ``pool_size`` connections are kept open.

    Raises ``BootError`` that says what was tried.
    """
    environ = os.environ if environ is None else environ
    configuration = Configuration()
    configuration.retries = False  # urllib3 would sleep out a Retry-After inside a worker
    configuration.connection_pool_maxsize = pool_size
    configuration.keep_alive = True
    kubeconfig = environ.get("KUBECONFIG", "")
    default = Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"
    try:
        if kubeconfig:
            source = f"KUBECONFIG={kubeconfig}"
            _load_file(configuration, kubeconfig)
        elif default.exists():
            source = str(default)
            _load_file(configuration, str(default))
        elif environ.get(SERVICE_HOST_ENV_NAME):
            source = "the pod's service account"
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            raise BootError(
                "no Kubernetes API to speak to: KUBECONFIG is not set, there is no "
                f"{default}, and this is no pod ({SERVICE_HOST_ENV_NAME} is not set); set "
                "KUBECONFIG, or try it without a cluster: lambda-builder dev"
            )
    except _LOADING_ERRORS as error:
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise BootError(
            f"cannot read the Kubernetes configuration from {source}: {cause}"
        ) from error
    return configuration


def _load_file(configuration: Any, path: str) -> None:
    # Nothing is written back: a kubeconfig may be a mounted Secret, or belong to another tool.
    load_kube_config(  # type: ignore[no-untyped-call]
        path, client_configuration=configuration, persist_config=False
    )
