"""``lambda-builder context``: services by name, so that no command needs their address."""

from __future__ import annotations

import click
from rich.table import Table

from lambda_builder.cli.contexts import Context, config_path, read_contexts
from lambda_builder.cli.output import console


@click.group()
def context() -> None:
    """Name services, and say which is meant where a command names none.

    Their file is $XDG_CONFIG_HOME/lambda-builder/config.yaml, else
    ~/.config/lambda-builder/config.yaml. --url, --context and LAMBDA_BUILDER_URL win, in this
    order; a context's token goes to its own service alone.

    \b
    lambda-builder context set prod --url https://builds.example.com --token-file ~/.prod.token
    lambda-builder context use prod
    lambda-builder jobs list --context prod
    """


@context.command("list")
def list_contexts() -> None:
    """List the services that have a name; the current one has a star."""
    found = read_contexts()
    if not found.contexts:
        click.echo(f"there are none in {config_path()}", err=True)
        return
    table = Table("", "name", "url", "token", box=None)
    for name, each in sorted(found.contexts.items()):
        secret = each.token_file or ("(hidden)" if each.token else "")
        table.add_row("*" if name == found.current else "", name, each.url, secret)
    console().print(table)


@context.command()
@click.argument("name")
def use(name: str) -> None:
    """Let commands mean NAME from now on.

    \b
    lambda-builder context use prod
    """
    found = read_contexts()
    found.named(name)
    found.current = name
    found.save()


@context.command("set")
@click.argument("name")
@click.option("--url", required=True, help="Where the service is.")
@click.option("--token-file", help="A file with the token that the service knows you by.")
def set_context(name: str, url: str, token_file: str | None) -> None:
    """Call a service NAME; the first one becomes the current one.

    \b
    lambda-builder context set here --url http://localhost:8080
    lambda-builder context set prod --url https://builds.example.com --token-file ~/.prod.token
    """
    found = read_contexts()
    found.contexts[name] = Context(url, token_file)
    found.current = found.current or name
    found.save()


@context.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget NAME."""
    found = read_contexts()
    found.named(name)
    del found.contexts[name]
    found.current = None if found.current == name else found.current
    found.save()
