"""The help of every command, out of which the reference is made, is there."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from lambda_builder.cli.commands import COMMANDS, main


def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from walk(found, f"{path} {name}")


EVERY = dict(walk(main, "lambda-builder"))


@pytest.mark.parametrize("path", EVERY)
def test_every_command_has_examples_and_every_option_a_word(path: str) -> None:
    command = EVERY[path]
    if path not in SHOWN_ELSEWHERE:
        assert path.replace(" jobs stats", " stats") in (command.help or "")
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.opts[0]


SHOWN_ELSEWHERE = {f"lambda-builder context {name}" for name in ("list", "remove")}
"""Commands without an example of their own: there is nothing to say about them."""


def test_the_list_has_every_command_and_nothing_else() -> None:
    assert {path.split()[1] for path in EVERY} == set(COMMANDS)
