"""``lambda-builder openapi``: the HTTP API as this version and these settings have it."""

from __future__ import annotations

import click

from lambda_builder.cli.output import data
from lambda_builder.server.boot import load_settings
from lambda_builder.web.openapi import document


@click.command()
@click.option(
    "--output",
    "-o",
    type=click.Choice(("json", "yaml")),
    default="json",
    show_default=True,
    help="How to print.",
)
def openapi(output: str) -> None:
    """Print the OpenAPI 3.1 description of the HTTP API, as GET /openapi.json answers it.

    No service has to run; the settings in the environment count.

    \b
    lambda-builder openapi > openapi.json
    lambda-builder openapi -o yaml
    """
    data(document(load_settings()), output)
