"""The ``lambda-builder`` command. What a command needs is imported when that command is run."""

from __future__ import annotations

from importlib import import_module

import click
from click.shell_completion import CompletionItem

from lambda_builder import __version__

COMMANDS = {
    "serve": ("serving:serve", "Serve with gunicorn, against a real cluster."),
    "dev": ("serving:dev", "Serve with an embedded cluster, for development and tests."),
    "check-config": ("serving:check_config", "Show the effective settings, secrets hidden."),
    "send": ("sending:send", "Send events: one from options, or many from a file."),
    "jobs": ("jobs:jobs", "Look at builds and steer them."),
    "stats": ("stats:stats", "Show queue, workers and totals."),
    "events": ("samples:events", "Show a valid sample of each type of event, in and out."),
    "template": ("templates:template", "Render and check Job templates."),
    "openapi": ("describing:openapi", "Print the description of the HTTP API."),
    "bench": ("bench:bench", "Send load to an installed service and tell how it bears it."),
    "verify": ("provenance:verify", "Check provenance against a public key, and show it."),
    "auth": ("auth:auth", "Make and check what AUTH_FILE needs."),
    "journal": ("journal:journal", "Copy a journal from a file to a database, or back."),
    "context": ("contexts_command:context", "Name services, and say which is meant."),
    "completion": ("completion:completion", "Print what lets a shell complete commands."),
}
"""Where each command is, and what it does in one line."""


class Commands(click.Group):
    """The commands, each imported when it is used: the list itself has to come at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names, in the order in which one needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(f"{__package__}.{module}"), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list for the help."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return what the word may become."""
        found = [
            CompletionItem(name, help=short)
            for name, (_, short) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lambda-builder")
def main() -> None:
    """CloudEvents in, Kubernetes image-build Jobs out.

    \b
    Try it:       lambda-builder dev --demo
    Send:         lambda-builder send --parser-id parser-1 --tenant customer-1 --wait
    Look:         lambda-builder jobs list --state failed
    Understand:   lambda-builder jobs logs JOB

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 3 the service is away or
    busy, 4 not allowed, 5 not found, 6 a build did not succeed, 7 it has not ended in time.
    """
