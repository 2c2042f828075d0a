"""``lambda-builder auth``: what AUTH_FILE needs, made and checked."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.table import Table

from lambda_builder.access.directory import Directory
from lambda_builder.access.identities import Known
from lambda_builder.access.policies import Caller
from lambda_builder.access.proofs import NotProven
from lambda_builder.access.rules import Action
from lambda_builder.access.shown import shown_in
from lambda_builder.access.tokens import LEAST_TOKEN, hash_of
from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import console
from lambda_builder.errors import BootError


@click.group()
def auth() -> None:
    """Make and check what AUTH_FILE needs."""


@auth.command("hash")
def hash_token() -> None:
    """Print the hash of a token for AUTH_FILE, asked for or read from standard input.

    Take one that nobody can guess:

    \b
    openssl rand -hex 32 | tee token | lambda-builder auth hash
    """
    token = _token()
    if len(token) < LEAST_TOKEN:
        click.echo(f"warning: with under {LEAST_TOKEN} characters it can be guessed", err=True)
    click.echo(hash_of(token))


@auth.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--token", "ask", is_flag=True, help="What a token may do: asked for, or from stdin.")
def check(file: Path, ask: bool) -> None:
    """Check an AUTH_FILE, and show what each identity may do; exits with 2 where it is broken.

    With --token it exits with 4 where the token is nobody's.

    \b
    lambda-builder auth check auth.yaml
    lambda-builder auth check auth.yaml --token < token
    """
    try:
        known = Directory(file).known
    except BootError as error:
        raise Failure(str(error), Exit.USAGE) from error
    table = Table("identity", *(action.value for action in Action), box=None)
    for name, caller in _callers(known, _token() if ask else None).items():
        table.add_row(name, *(_tenants(caller, action) for action in Action))
    console().print(table)


def _callers(known: Known, token: str | None) -> dict[str, Caller]:
    """Return whom the file knows, or whom of them a token is."""
    if token is not None:
        try:
            caller = known.caller(shown_in({"HTTP_AUTHORIZATION": f"Bearer {token}"}, None))
        except NotProven as error:
            raise Failure("nobody in the file has that token.", Exit.DENIED) from error
        return {caller.name: caller}
    anonymous = ("anonymous",) if known.has_anonymous else ()
    return {
        name: Caller((name,), allowed, allowed)
        for name in (*known.proofs, *anonymous)
        for allowed in (known.policies.allowed((name,)),)
    }


def _tenants(caller: Caller, action: Action) -> str:
    """Return the tenants for which that is allowed, as the policies have them."""
    tenants = caller.may(action)
    if not tenants:
        return "-"
    return "all" if tenants.are_all else ", ".join(tenants.patterns)


def _token() -> str:
    asks = sys.stdin.isatty()
    token: str = (click.prompt("token", hide_input=True) if asks else sys.stdin.read()).strip()
    if not token:
        raise click.ClickException("there is no token on standard input.")
    return token
