"""``lambda-builder verify``: which event an image came from, and that the service says so."""

from __future__ import annotations

from typing import IO

import click

from lambda_builder.cli.output import data
from lambda_builder.lifecycle.dsse import (
    DsseError,
    read_public_key,
    statement_of,
)
from lambda_builder.lifecycle.signing import PREDICATE_TYPE, STATEMENT_TYPE


@click.command()
@click.option(
    "--key",
    required=True,
    type=click.File("rb"),
    help="Public key in PEM: ed25519 or ECDSA P-256.",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(("json", "yaml")),
    default="json",
    show_default=True,
    help="How to print.",
)
@click.argument("file", type=click.File("rb"))
def verify(key: IO[bytes], output: str, file: IO[bytes]) -> None:
    """Check provenance, and show the statement; exits with 1 unless KEY has signed it.

    FILE is an answer of GET /async-jobs/ID/provenance; - is standard input.

    \b
    curl -s http://localhost:8080/async-jobs/JOB/provenance | lambda-builder verify --key key.pub -
    """
    try:
        statement = statement_of(file.read(), read_public_key(key.read()))
    except DsseError as error:
        raise click.ClickException(f"{file.name}: {error}.") from error
    if (statement.get("_type"), statement.get("predicateType")) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise click.ClickException(f"{file.name}: it is signed, but states no provenance.")
    data(statement, output)
