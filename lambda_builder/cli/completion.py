"""``lambda-builder completion``: what a shell needs to complete commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
_PROGRAM, _VARIABLE = "lambda-builder", "_LAMBDA_BUILDER_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that lets SHELL complete commands, options and states.

    \b
    bash:  source <(lambda-builder completion bash)           in ~/.bashrc
    zsh:   source <(lambda-builder completion zsh)            in ~/.zshrc
    fish:  lambda-builder completion fish > ~/.config/fish/completions/lambda-builder.fish
    """
    script = get_completion_class(shell)
    if script is None:  # pragma: no cover - click has all three
        raise click.ClickException(f"nothing completes in {shell}.")
    click.echo(script(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
