"""What every command has that talks to a service: where that is, and how the answer is shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click

from lambda_builder.cli.contexts import read_contexts
from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import FORMATS, Printer
from lambda_builder.client import (
    Client,
    ClientError,
    NotTheService,
    Problem,
    StillGoing,
    Unreachable,
)

DEFAULT_URL = "http://localhost:8080"
URL_VARIABLE, TOKEN_VARIABLE = "LAMBDA_BUILDER_URL", "LAMBDA_BUILDER_TOKEN"
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Service:
    """The service that a command talks to."""

    url: str
    token: str | None
    printer: Printer

    def client(self, **options: Any) -> Client:
        """Return a client, without patience unless ``options`` give it some."""
        return Client(self.url, self.token, **{"patience": 0.0, **options})


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command or group the options; those of the command win."""
    for option in (
        click.option(
            "--output",
            "-o",
            type=click.Choice(FORMATS),
            callback=_keep,
            expose_value=False,
            help="How to print.  [default: table on a terminal and for lists, else json]",
        ),
        click.option(
            "--context",
            metavar="NAME",
            callback=_keep,
            expose_value=False,
            help="A service of `lambda-builder context list`.",
        ),
        click.option(
            "--token",
            metavar="TOKEN",
            callback=_keep,
            expose_value=False,
            help="What the service knows you by, where it asks; better in the environment.  "
            f"[env var: {TOKEN_VARIABLE}]",
        ),
        click.option(
            "--url",
            metavar="URL",
            callback=_keep,
            expose_value=False,
            help="Where the service is.  "
            f"[env var: {URL_VARIABLE}; default: the current context, else {DEFAULT_URL}]",
        ),
    ):
        command = option(command)
    return command


def connected(
    command: Callable[Concatenate[Service, P], None],
) -> Callable[P, None]:
    """Give a command the options and, first, the service that they mean; it ends well."""

    @wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        with ending_well():
            command(_service(click.get_current_context()), *arguments, **options)

    return service_options(run)


@contextmanager
def ending_well() -> Iterator[None]:
    """End the command with one line and its exit code for a ``ClientError``, 130 for Ctrl-C."""
    try:
        yield
    except ClientError as error:
        raise failure_of(error) from error
    except KeyboardInterrupt:
        click.get_current_context().exit(Exit.INTERRUPTED)


def failure_of(error: ClientError) -> Failure:
    """Return how a command ends for such an error."""
    code, advice = _CODES.get(type(error), Exit.FAILED), _ADVICE.get(type(error), "")
    if isinstance(error, Problem):
        if error.status in (401, 403):
            code, advice = Exit.DENIED, f"; say who you are with --token or {TOKEN_VARIABLE}"
            advice = advice if error.status == 401 else ""
        elif error.status == 404:
            code = Exit.NOT_FOUND
        elif error.status in (429, 503):
            code = Exit.AWAY
            seconds = error.retry_after
            advice = "" if seconds is None else f"; try again in {seconds:g} s"
    return Failure(f"{error}{advice}".rstrip(".") + ".", code)


_CODES: dict[type[ClientError], Exit] = {
    Unreachable: Exit.AWAY,
    NotTheService: Exit.AWAY,
    StillGoing: Exit.STILL_GOING,
}
_ADVICE: dict[type[ClientError], str] = {
    Unreachable: ": start the service there, or name another with --url",
    NotTheService: ": give the service's, like http://localhost:8080, with --url",
    StillGoing: ": it goes on; wait longer with --timeout",
}


def _keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        # Shared by the contexts of a group and its command, of which the latter comes last.
        context.meta[f"{__name__}.{parameter.name}"] = value


def _service(context: click.Context) -> Service:
    given = {
        name: context.meta.get(f"{__name__}.{name}")
        for name in ("url", "token", "context", "output")
    }
    url, token = _where(given["url"], given["context"])
    token = given["token"] or token or os.environ.get(TOKEN_VARIABLE)
    return Service(url.rstrip("/"), token, Printer(given["output"]))


def _where(url: str | None, name: str | None) -> tuple[str, str | None]:
    """Return where the service is, and the context's token where it is a context's."""
    if url is not None:
        return url, None  # A context's token is for its own service alone.
    if name is None and (named := os.environ.get(URL_VARIABLE)):
        return named, None
    contexts = read_contexts()
    name = name or contexts.current
    if name is None:
        return DEFAULT_URL, None
    context = contexts.named(name)
    return context.url, context.secret()
