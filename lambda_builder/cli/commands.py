"""The ``lambda-builder`` command: runs the service, checks its settings, and steers builds."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import click
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from lambda_builder import __version__
from lambda_builder.access.tokens import LEAST_TOKEN, hash_of
from lambda_builder.builds import BuildState, FailureCategory
from lambda_builder.cli.api import Api
from lambda_builder.cli.bench import bench
from lambda_builder.lifecycle.dsse import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    DsseError,
    read_public_key,
    statement_of,
)
from lambda_builder.server import dev as dev_server
from lambda_builder.server.boot import CONFIG_ERROR, load_settings, refusing_to_boot
from lambda_builder.server.listening import check_address
from lambda_builder.server.start_warnings import warnings_of
from lambda_builder.settings import PREFIX, Rate, Settings, variables

_PASSWORD = re.compile(r"://[^/@\s]*@")
_QUERY = re.compile(r"(?<=://)([^?]*)\?.+")
"""What a receiver's URL may end in, such as ``?token=…``."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lambda-builder")
def main() -> None:
    """CloudEvents in, Kubernetes image-build Jobs out."""


# -- running -------------------------------------------------------------------------------------


def _writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and not os.access(path.absolute().parent, os.W_OK):
        raise click.BadParameter(f"nothing can be written to {path.parent}.", context, parameter)
    return path


@main.command()
def serve() -> None:
    """Serve with gunicorn, against the cluster of KUBECONFIG or the one this pod runs in."""
    load_settings()
    os.execv(dev_server.GUNICORN[0], dev_server.GUNICORN)  # noqa: S606 - nothing of a shell


@main.command()
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
def dev(run_seconds: float, pending_seconds: float, kubeconfig: Path | None) -> None:
    """Serve with an embedded cluster: for development and tests, nothing is really built."""
    if not dev_server.has_cluster():
        raise click.ClickException(
            "the embedded cluster is not part of the image: give it a real one with KUBECONFIG "
            "and run `lambda-builder serve`"
        )
    settings = load_settings()
    with refusing_to_boot(CONFIG_ERROR):
        check_address(settings.host, settings.port)
    click.echo(f"lambda-builder {__version__} on http://localhost:{settings.port}")
    os.environ.setdefault(f"{PREFIX}LOG_FORMAT", "console")
    sys.exit(
        dev_server.run_with_cluster(
            run_seconds=run_seconds,
            pending_seconds=pending_seconds,
            namespace=settings.namespace,
            kubeconfig=kubeconfig,
        )
    )


@main.command("check-config")
def check_config() -> None:
    """Show the effective settings, secrets hidden; exits with 2 when they cannot work."""
    settings = load_settings()
    table = Table("variable", "value", title="effective settings", title_justify="left")
    for name, variable in zip(Settings.model_fields, variables(), strict=True):
        value = getattr(settings, name)
        shown = "(hidden)" if isinstance(value, SecretStr) and value.get_secret_value() else value
        if isinstance(value, tuple) and not isinstance(value, Rate):
            shown = ",".join(value)
        if isinstance(shown, str):
            shown = _QUERY.sub(r"\1?***", _PASSWORD.sub("://***@", shown))
        table.add_row(variable, "" if shown is None else str(shown))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for _, reason in warnings_of(settings, os.environ):
        click.echo(f"warning: {reason}", err=True)


main.add_command(bench)


@main.group()
def auth() -> None:
    """Make what AUTH_FILE needs."""


@auth.command("hash")
def hash_token() -> None:
    """Print the hash of a token for AUTH_FILE, asked for or read from standard input.

    Take one that nobody can guess: openssl rand -hex 32 | tee token | lambda-builder auth hash
    """
    asks = sys.stdin.isatty()
    token = (click.prompt("token", hide_input=True) if asks else sys.stdin.read()).strip()
    if not token:
        raise click.ClickException("there is no token on standard input.")
    if len(token) < LEAST_TOKEN:
        click.echo(f"warning: with under {LEAST_TOKEN} characters it can be guessed", err=True)
    click.echo(hash_of(token))


@main.command()
@click.option(
    "--key",
    required=True,
    type=click.File("rb"),
    help="Public key in PEM: ed25519 or ECDSA P-256.",
)
@click.argument("file", type=click.File("rb"))
def verify(key: IO[bytes], file: IO[bytes]) -> None:
    """Check provenance, and show the statement; exits with 1 unless KEY has signed it.

    FILE is an answer of GET /async-jobs/ID/provenance; - is standard input.
    """
    try:
        statement = statement_of(file.read(), read_public_key(key.read()))
    except DsseError as error:
        raise click.ClickException(f"{file.name}: {error}.") from error
    if (statement.get("_type"), statement.get("predicateType")) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise click.ClickException(f"{file.name}: it is signed, but states no provenance.")
    _print(statement)


# -- builds --------------------------------------------------------------------------------------


@main.group()
@click.option(
    "--url",
    envvar=f"{PREFIX}URL",
    default="http://localhost:8080",
    show_default=True,
    help="Where the service is.",
)
@click.option(
    "--token",
    envvar=f"{PREFIX}TOKEN",
    show_envvar=True,
    help="What the service knows you by, where it asks; better in the environment.",
)
@click.pass_context
def jobs(context: click.Context, url: str, token: str | None) -> None:
    """Look at builds and steer them. IDs are Job names or correlation IDs."""
    context.obj = Api(url, token)


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which builds are meant."""
    states = click.Choice([state.value for state in BuildState])
    categories = click.Choice([category.value for category in FailureCategory])
    for option in (
        click.option("--until", metavar="TIME", help="Accepted before this time, as in RFC 3339."),
        click.option("--since", metavar="TIME", help="Accepted then or later."),
        click.option("--q", metavar="TEXT", help="A part of any ID, of the image or of the error."),
        click.option("--category", type=categories, help="Why it failed."),
        click.option("--correlation-id"),
        click.option("--parser-id"),
        click.option("--third-party-id", "--tenant"),
        click.option("--state", type=states, multiple=True, help="One of several, if given again."),
    ):
        command = option(command)
    return command


def _given(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value not in (None, (), False)}


@jobs.command("list")
@_filters
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 500))
@click.option("--cursor", help="Go on after an earlier page, as it said.")
@click.pass_obj
def list_jobs(api: Api, /, **filters: Any) -> None:
    """List builds, newest first."""
    page = api.call("GET", "/async-jobs", params=_given(filters))
    headings = ("job", "state", "place", "attempts", "accepted", "error", "category")
    table = Table(*headings, box=None)
    for build in page["items"]:
        error = build["error"] or {}
        table.add_row(
            build["job_name"],
            build["state"],
            str(build["position"] or ""),
            str(build["attempts"]),
            build["accepted_at"] or "",
            error.get("code", ""),
            build.get("failure_category") or "",
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    if page["next_cursor"]:
        click.echo(f"there are more: --cursor {page['next_cursor']}", err=True)


@jobs.command("cancel-all")
@_filters
@click.option("--all", is_flag=True, help="Every build, where no other option is given.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.pass_obj
def cancel_all(api: Api, /, **filters: Any) -> None:
    """Cancel the builds that the options mean, at most 1,000."""
    _print(api.call("POST", "/async-jobs/cancel", params=_given(filters)))


@jobs.command("retry-all")
@_filters
@click.option("--all", is_flag=True, help="Every build, where no other option is given.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.pass_obj
def retry_all(api: Api, /, **filters: Any) -> None:
    """Let the dead and failed builds that the options mean go again, at most 1,000."""
    _print(api.call("POST", "/async-jobs/retry", params=_given(filters)))


@jobs.command()
@click.argument("build_id")
@click.pass_obj
def show(api: Api, build_id: str) -> None:
    """Show one build as JSON."""
    _print(api.call("GET", _path(build_id)))


@jobs.command()
@click.argument("build_id")
@click.pass_obj
def cancel(api: Api, build_id: str) -> None:
    """Cancel a build: out of the queue, or its Job deleted with its pods."""
    _print(api.call("DELETE", _path(build_id)))


@jobs.command()
@click.argument("build_id")
@click.pass_obj
def retry(api: Api, build_id: str) -> None:
    """Let a dead or failed build go again."""
    _print(api.call("POST", f"{_path(build_id)}/retry"))


@jobs.command()
@click.argument("build_id")
@click.option("--follow", "-f", is_flag=True, help="Until the build ends.")
@click.pass_obj
def logs(api: Api, build_id: str, follow: bool) -> None:
    """Print a build's log."""
    params = {"follow": "true"} if follow else {}
    # A build may be silent for as long as it likes: only connecting has a limit then.
    for chunk in api.stream(f"{_path(build_id)}/logs", forever=follow, params=params):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


@jobs.command()
@click.pass_obj
def stats(api: Api) -> None:
    """Show queue, workers and totals as JSON."""
    _print(api.call("GET", "/async-jobs/stats"))


def _path(build_id: str) -> str:
    return f"/async-jobs/{quote(build_id, safe='')}"


def _print(answer: Any) -> None:
    text = json.dumps(answer, ensure_ascii=False)
    Console().print_json(text) if sys.stdout.isatty() else click.echo(text)
