"""``lambda-builder jobs``: builds looked at and steered."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Unpack

import click

from lambda_builder.builds import BuildState, FailureCategory
from lambda_builder.cli.connection import Service, connected, failure_of, service_options
from lambda_builder.cli.exits import Failure
from lambda_builder.cli.stats import stats
from lambda_builder.cli.steering import steer_all
from lambda_builder.cli.watching import watch_all, watch_one
from lambda_builder.client import Build, Client, ClientError, Filters


@click.group()
@service_options
def jobs() -> None:
    """Look at builds and steer them. IDs are Job names or correlation IDs.

    \b
    lambda-builder jobs list --state failed --since 2026-11-24T06:00:00Z
    lambda-builder jobs logs --follow JOB
    lambda-builder jobs retry --all-matching --state dead --dry-run
    """


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which builds are meant."""
    states = click.Choice([state.value for state in BuildState])
    categories = click.Choice([category.value for category in FailureCategory])
    for option in (
        click.option("--until", metavar="TIME", help="Accepted before this time, as in RFC 3339."),
        click.option("--since", metavar="TIME", help="Accepted then or later."),
        click.option("--q", metavar="TEXT", help="A part of any ID, of the image or of the error."),
        click.option("--category", type=categories, help="Why it failed."),
        click.option("--correlation-id", metavar="ID", help="What the sender calls it."),
        click.option("--parser-id", metavar="ID", help="What is built."),
        click.option("--third-party-id", "--tenant", metavar="ID", help="Whose it is."),
        click.option("--state", type=states, multiple=True, help="One of several, if given again."),
    ):
        command = option(command)
    return command


@jobs.command("list")
@_filters
@click.option(
    "--limit",
    default=50,
    show_default=True,
    type=click.IntRange(1, 500),
    help="Builds of one page.",
)
@click.option("--cursor", help="Go on after an earlier page, as it said.")
@click.option("--all-pages", is_flag=True, help="Go on to the end.")
@connected
def list_jobs(
    service: Service, /, limit: int, cursor: str | None, all_pages: bool, **filters: Unpack[Filters]
) -> None:
    """List builds, newest first.

    \b
    lambda-builder jobs list --tenant customer-1 --state queued --state retrying
    lambda-builder jobs list --category out_of_memory -o name
    lambda-builder jobs list --all-pages -o json | jq '.items[].image_digest'
    """
    with service.client() as client:
        if all_pages:
            items, following = [build.raw for build in client.list(**filters)], None
        else:
            page = client.page(limit=limit, cursor=cursor, **filters)
            items, following = [build.raw for build in page.items], page.next_cursor
    service.printer.builds(items, following)
    if following:
        click.echo(f"there are more: --cursor {following}", err=True)


@jobs.command()
@click.argument("build_id")
@connected
def show(service: Service, /, build_id: str) -> None:
    """Show one build.

    \b
    lambda-builder jobs show JOB
    lambda-builder jobs show JOB -o json | jq -r .image_digest
    """
    with service.client() as client:
        service.printer.build(client.get(build_id).raw)


@jobs.command()
@click.argument("build_id", required=False)
@_filters
@click.option(
    "--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="Wait for no longer."
)
@click.option(
    "--interval",
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0.2, max=3600),
    help="How often to look, where all are watched.",
)
@connected
def watch(
    service: Service,
    /,
    build_id: str | None,
    timeout: float | None,
    interval: float,
    **filters: Unpack[Filters],
) -> None:
    """Follow one build to its end, or all that the options mean for ever.

    Of one build it exits with 6 unless the build succeeds, and with 7 after --timeout. All, which
    are the newest 200, are a table that changes on a terminal, and elsewhere a line for each
    change.

    \b
    lambda-builder jobs watch JOB --timeout 600 && deploy
    lambda-builder jobs watch --tenant customer-1
    """
    with service.client() as client:
        if build_id is None:
            watch_all(client, service.printer, interval, timeout, filters)
        else:
            watch_one(client, service.printer, build_id, timeout)


def _meant(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what says which builds are steered: their IDs, or filters."""
    for option in (
        click.option("--yes", "-y", is_flag=True, help="Ask nothing on a terminal."),
        click.option("--dry-run", is_flag=True, help="Only count what --all-matching means."),
        click.option("--all", "everything", is_flag=True, help="Every build, without any filter."),
        click.option("--all-matching", is_flag=True, help="All builds that the filters mean."),
    ):
        command = option(command)
    return _filters(click.argument("build_ids", nargs=-1, metavar="[BUILD_ID]...")(command))


@jobs.command()
@_meant
@connected
def cancel(service: Service, /, **options: Any) -> None:
    """Cancel builds: out of the queue, or their Jobs deleted with their pods.

    \b
    lambda-builder jobs cancel JOB
    lambda-builder jobs cancel --all-matching --tenant customer-1 --dry-run
    """
    _steer(service, "cancel", Client.cancel, **options)


@jobs.command()
@_meant
@connected
def retry(service: Service, /, **options: Any) -> None:
    """Let dead or failed builds go again.

    \b
    lambda-builder jobs retry JOB
    lambda-builder jobs retry --all-matching --category platform --since 2026-11-24T06:00:00Z
    """
    _steer(service, "retry", Client.retry, **options)


@jobs.command()
@click.argument("build_id")
@click.option("--follow", "-f", is_flag=True, help="Until the build ends.")
@connected
def logs(service: Service, /, build_id: str, follow: bool) -> None:
    """Print a build's log.

    \b
    lambda-builder jobs logs --follow JOB
    lambda-builder jobs logs JOB | grep -i error
    """
    with service.client() as client:
        for chunk in client.logs(build_id, follow=follow):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _steer(
    service: Service,
    action: str,
    steer: Callable[[Client, str], Build],
    *,
    build_ids: tuple[str, ...],
    all_matching: bool,
    everything: bool,
    dry_run: bool,
    yes: bool,
    **filters: Unpack[Filters],
) -> None:
    bulk = all_matching or everything
    if bool(build_ids) == bulk:
        raise click.UsageError(
            f"name the builds to {action}, or say --all-matching with filters, but not both."
        )
    if build_ids and (dry_run or any(filters.values())):
        raise click.UsageError("filters and --dry-run are for --all-matching.")
    with service.client() as client:
        if bulk:
            asks = not yes and sys.stdin.isatty()
            steer_all(client, service.printer, action, filters, everything, dry_run, asks)
        else:
            _steer_each(client, service, steer, build_ids)


def _steer_each(
    client: Client,
    service: Service,
    steer: Callable[[Client, str], Build],
    build_ids: tuple[str, ...],
) -> None:
    """Steer builds one by one; what is refused is told, and ends the command once all are done."""
    done: list[Build] = []
    failures: list[Failure] = []
    for build_id in build_ids:
        try:
            done.append(steer(client, build_id))
        except ClientError as error:
            failures.append(failure_of(error))
    if len(build_ids) > 1:
        service.printer.builds([build.raw for build in done], None)
    elif done:
        service.printer.build(done[0].raw)
    for failure in failures[:-1]:
        failure.show()
    if failures:
        raise failures[-1]


jobs.add_command(stats)
