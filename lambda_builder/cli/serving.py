"""``lambda-builder serve``, ``dev`` and ``check-config``: the service itself."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from rich.table import Table

from lambda_builder import __version__
from lambda_builder.cli.demo import Demo
from lambda_builder.cli.output import FORMATS, console, data, names
from lambda_builder.server import dev as dev_server
from lambda_builder.server.boot import CONFIG_ERROR, load_settings, refusing_to_boot
from lambda_builder.server.listening import check_address
from lambda_builder.server.start_warnings import warnings_of
from lambda_builder.settings import PREFIX, Rate, Settings, variables, without_secrets
from lambda_builder.settings.database import SCHEME


def _writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and not os.access(path.absolute().parent, os.W_OK):
        raise click.BadParameter(f"nothing can be written to {path.parent}.", context, parameter)
    return path


@click.command()
def serve() -> None:
    """Serve with gunicorn, against the cluster of KUBECONFIG or the one this pod runs in.

    Settings are environment variables: `lambda-builder check-config` shows them.

    \b
    LAMBDA_BUILDER_JOURNAL_PATH=./journal.db lambda-builder serve
    KUBECONFIG=~/.kube/config PORT=9000 lambda-builder serve
    """
    load_settings()
    os.execv(dev_server.GUNICORN[0], dev_server.GUNICORN)  # noqa: S606 - nothing of a shell


@click.command()
@click.option(
    "--run-seconds",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="How long a build seems to run.",
)
@click.option(
    "--pending-seconds",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="How long a pod waits.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_writable,
    help="Where to write a kubeconfig.",
)
@click.option("--demo", is_flag=True, help="Keep sending builds of several tenants; some fail.")
@click.option(
    "--demo-rate",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.05, max=20),
    help="Builds a second, about.",
)
def dev(
    run_seconds: float,
    pending_seconds: float,
    kubeconfig: Path | None,
    demo: bool,
    demo_rate: float,
) -> None:
    """Serve with an embedded cluster: for development and tests, nothing is really built.

    \b
    lambda-builder dev --demo                 builds to look at, on http://localhost:8080
    PORT=9000 lambda-builder dev              another port
    lambda-builder dev --kubeconfig ./kube    and then KUBECONFIG=./kube kubectl get jobs
    """
    if not dev_server.has_cluster():
        raise click.ClickException(
            "the embedded cluster is not part of the image: give it a real one with KUBECONFIG "
            "and run `lambda-builder serve`"
        )
    settings = load_settings()
    with refusing_to_boot(CONFIG_ERROR):
        check_address(settings.host, settings.port)
    url = f"http://localhost:{settings.port}"
    click.echo(f"lambda-builder {__version__} on {url}")
    os.environ.setdefault(f"{PREFIX}LOG_FORMAT", "console")
    sys.exit(
        dev_server.run_with_cluster(
            run_seconds=run_seconds,
            pending_seconds=pending_seconds,
            namespace=settings.namespace,
            kubeconfig=kubeconfig,
            beside=lambda cluster: Demo(url, cluster, demo_rate) if demo else nullcontext(),
        )
    )


@click.command("check-config")
@click.option(
    "--output",
    "-o",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="How to print; name: the variables alone.",
)
def check_config(output: str) -> None:
    """Show the effective settings, secrets hidden; exits with 2 when they cannot work.

    \b
    LAMBDA_BUILDER_QUEUE_SIZE=500 lambda-builder check-config
    lambda-builder check-config -o yaml
    """
    settings = load_settings()
    values = {
        variable: _shown(getattr(settings, name))
        for name, variable in zip(Settings.model_fields, variables(), strict=True)
    }
    if output == "table":
        table = Table("variable", "value", title="effective settings", title_justify="left")
        for variable, value in values.items():
            table.add_row(variable, value)
        console().print(table)
    elif output == "name":
        names(values)
    else:
        data(values, output)
    for _, reason in warnings_of(settings, os.environ):
        click.echo(f"warning: {reason}", err=True)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
        if not value.startswith(SCHEME):
            return "(hidden)" if value else ""
    if isinstance(value, tuple) and not isinstance(value, Rate):
        value = ",".join(value)
    return without_secrets(str(value))
