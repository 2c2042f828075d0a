"""``lambda-builder template``: what Jobs come of a Job template, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import click

from lambda_builder.builds import BuildRequest
from lambda_builder.cli.exits import Exit, Failure
from lambda_builder.cli.output import data
from lambda_builder.cli.samples import samples
from lambda_builder.errors import BootError, Permanent, Refused
from lambda_builder.events.reader import EventReader
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings, load

_template = click.option(
    "--template",
    "file",
    metavar="FILE",
    help="A file, or a template of the package.  [default: JOB_TEMPLATE, else kaniko.yaml]",
)


@click.group()
def template() -> None:
    """Render and check Job templates, with the settings in the environment and no cluster."""


@template.command()
@_template
@click.option(
    "--event", type=click.File("rb"), help="A build event in structured form, - is stdin."
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(("yaml", "json")),
    default="yaml",
    show_default=True,
    help="How to print.",
)
def render(file: str | None, event: IO[bytes] | None, output: str) -> None:
    """Print the Job that a build gets: that of an event, or of a sample.

    \b
    lambda-builder template render | kubectl apply --dry-run=server -f -
    lambda-builder template render --template my.yaml --event event.json
    """
    settings = _settings(file)
    template = _read(settings)
    sample = next(e for way, e in samples().values() if way == "in")
    request = _build(settings, event.read() if event else json.dumps(sample).encode())
    try:
        template.judge(request)
        data(template.render(request), output)
    except (Refused, Permanent) as error:
        raise Failure(f"the event gets no Job: {error}") from error


@template.command()
@_template
def validate(file: str | None) -> None:
    """Check a template as the service does at its start; exits with 2 where it is none.

    \b
    lambda-builder template validate --template my.yaml
    """
    settings = _settings(file)
    _read(settings)
    click.echo(f"{settings.job_template or 'kaniko.yaml'} is a Job template")


def _settings(file: str | None) -> Settings:
    try:
        settings = load()
    except BootError as error:
        raise Failure(str(error), Exit.USAGE) from error
    return settings.model_copy(update={"job_template": Path(file)}) if file else settings


def _read(settings: Settings) -> JobTemplate:
    try:
        return JobTemplate.from_settings(settings)
    except BootError as error:
        raise Failure(str(error), Exit.USAGE) from error


def _build(settings: Settings, event: bytes) -> BuildRequest:
    """Return the build that an event asks for."""
    reader = EventReader(
        strict=settings.strict_cloudevents, build_event_types=settings.build_event_types
    )
    headers = {"Content-Type": "application/cloudevents+json"}
    try:
        (request,) = reader.read(headers, event, now=0.0).events
    except Refused as error:
        raise Failure(f"the event is refused: {error}") from error
    if not isinstance(request, BuildRequest):
        raise Failure("the event asks for no build, but cancels or retries one.")
    return request
