"""``lambda-builder journal``: what is done with a journal that nobody uses."""

from __future__ import annotations

from pathlib import Path

import click

from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.errors import BootError
from lambda_builder.journal.copying import copy as copy_journal
from lambda_builder.settings.database import SCHEME, check_journal_url, check_password_file


@click.group()
def journal() -> None:
    """Copy a journal, while the service is stopped."""


@journal.command()
@click.argument("source")
@click.argument("target")
@click.option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the database's password, which in a URL every user of the machine can see.",
)
def copy(source: str, target: str, password_file: Path | None) -> None:
    """Copy all that SOURCE holds to TARGET, which must be empty; each a file or postgresql:// URL.

    Stop the service first: a journal that is in use is refused, with exit code 2, as is whatever
    else cannot be copied. SOURCE stays as it is; TARGET gets all or nothing.

    \b
    lambda-builder journal copy journal.sqlite3 postgresql://builder:secret@db/builds
    lambda-builder journal copy postgresql://builder@db/builds new.sqlite3 --password-file password
    """
    try:
        check_password_file(password_file, "--password-file")
        counts = copy_journal(_place(source), _place(target), password_file=password_file)
    except BootError as error:
        raise Failure(str(error), Exit.USAGE) from error
    for kind, number in counts.items():
        click.echo(f"{kind} {number}")


def _place(text: str) -> str:
    """Return a URL; raises ``BootError`` for one of a database that cannot be."""
    if text.startswith(SCHEME):
        try:
            check_journal_url(text)
        except ValueError as error:
            raise BootError(f"a database {error}") from None
        return text
    if "://" in text:
        return text
    return f"sqlite://{Path(text).absolute()}"
