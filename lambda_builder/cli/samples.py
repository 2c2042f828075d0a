"""``lambda-builder events``: a valid sample of each type of event, in and out, made by the code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

import click
from rich.table import Table

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
)
from lambda_builder.cli.output import FORMATS, console, data, names
from lambda_builder.client import build_event
from lambda_builder.events.reader import EventReader
from lambda_builder.outgoing.messages import BuildNews, HTTPMessage, dead_letter, rejected_event
from lambda_builder.outgoing.messages import build_event as news_event
from lambda_builder.settings import (
    BUILD_EVENT_TYPES,
    CANCEL_EVENT_TYPES,
    RETRY_EVENT_TYPES,
)

Event = dict[str, Any]
_MOMENT = 1_790_000_000.0
"""Of every sample, so that they are the same each time."""
_STATES: Mapping[BuildNews, BuildState] = {
    "accepted": BuildState.QUEUED,
    "started": BuildState.RUNNING,
    "complete": BuildState.SUCCEEDED,
    "failed": BuildState.FAILED,
    "timeout": BuildState.FAILED,
    "cancelled": BuildState.CANCELLED,
}
_ERRORS: Mapping[BuildNews, BuildError] = {
    "failed": BuildError(
        "BackoffLimitExceeded",
        "build: exit status 1: a step of the Dockerfile failed",
        FailureCategory.DOCKERFILE,
    ),
    "timeout": BuildError(
        "DeadlineExceeded",
        "Job was active longer than specified deadline",
        FailureCategory.TIMEOUT,
    ),
}


@click.command()
@click.argument("event_type", metavar="[TYPE]", required=False)
@click.option(
    "--output",
    "-o",
    type=click.Choice(FORMATS),
    help="How to print.  [default: the list as a table, a sample as json]",
)
def events(event_type: str | None, output: str | None) -> None:
    """List the types of events, in and out, or print a valid sample of TYPE in structured form.

    `dead-letter` is what goes to DEAD_LETTER_URL.

    \b
    lambda-builder events
    lambda-builder events network.notifi.lambda.build.start | lambda-builder send -
    """
    known = samples()
    if event_type is None:
        _list(known, output)
    elif event_type in known:
        data(known[event_type][1], "yaml" if output == "yaml" else "json")
    else:
        raise click.BadParameter(
            f"there is no {event_type!r}: `lambda-builder events` lists them.", param_hint="TYPE"
        )


def _list(known: Mapping[str, tuple[str, Event]], output: str | None) -> None:
    if output == "name":
        names(known)
    elif output in ("json", "yaml"):
        data([sample for _, sample in known.values()], output)
    else:
        table = Table("way", "type", box=None)
        for name, (way, _) in known.items():
            table.add_row(way, name)
        console().print(table)


def samples() -> dict[str, tuple[str, Event]]:
    """Return a sample of each type of event, by its type, with its way: ``in`` or ``out``."""
    ways = {"in": _incoming(), "out": _outgoing()}
    return {
        "dead-letter" if "lambdabuildererror" in event else event["type"]: (way, event)
        for way, listed in ways.items()
        for event in listed
    }


def _incoming() -> list[Event]:
    found = []
    for event_type in (*BUILD_EVENT_TYPES, *CANCEL_EVENT_TYPES, *RETRY_EVENT_TYPES):
        event = build_event(
            "parser-1",
            third_party_id="customer-1",
            event_id=f"sample-{event_type.rpartition('.')[2]}",
            event_type=event_type,
        )
        if event_type in BUILD_EVENT_TYPES:
            event["data"] |= {"priority": "normal", "build_args": {"VERSION": "1.4.2"}}
        if event_type.startswith("io."):
            ids = {"name": "parser-1", "namespace": "customer-1"}
            rest = {k: v for k, v in event["data"].items() if not k.endswith("_id")}
            event["data"] = {**ids, **rest}
        found.append(event)
    return found


def _outgoing() -> list[Event]:
    found: list[HTTPMessage] = []
    common: dict[str, Any] = {"source": "lambda-builder", "time": _MOMENT, "overrides": {}}
    for event_type in BUILD_EVENT_TYPES:
        request = _request(event_type)
        found += [
            news_event(kind, _result(request, kind), **common) for kind in get_args(BuildNews)
        ]
        refusal: dict[str, Any] = {"body": b"{}", "correlation_id": "order-42"}
        found.append(
            rejected_event(
                "invalid_data",
                "parser_id: is required",
                "{}",
                event_type=event_type,
                **refusal,
                **common,
            )
        )
    found.append(dead_letter(_request(BUILD_EVENT_TYPES[0]), error="forbidden", attempts=1))
    return [_structured(message) for message in found]


def _request(event_type: str) -> BuildRequest:
    event = next(each for each in _incoming() if each["type"] == event_type)
    reader = EventReader(strict=True, build_event_types=BUILD_EVENT_TYPES)
    headers = {"Content-Type": "application/cloudevents+json"}
    (request,) = reader.read(headers, json.dumps(event).encode(), now=_MOMENT).events
    assert isinstance(request, BuildRequest)  # noqa: S101 - the type starts builds
    return request


def _result(request: BuildRequest, kind: BuildNews) -> BuildResult:
    """Return a build as it is when such news is told of it."""
    state, error = _STATES[kind], _ERRORS.get(kind)
    result = BuildResult(request=request, state=state, error=error)
    if kind == "accepted":
        return result
    image = "registry.example.com/customer-1:parser-1-1.4.2"
    running = result.but(
        attempts=1,
        namespace="knative-lambda",
        job_uid="6f1c1d2e-93a4-4a53-8f0b-8d4d6a4a2f10",
        image=image,
        created_at=_MOMENT + 1,
        started_at=_MOMENT + 4,
    )
    if not state.final:
        return running
    digest = f"sha256:{request.event_hash}" if kind == "complete" else None
    return running.but(finished_at=_MOMENT + 93, image_digest=digest)


def _structured(message: HTTPMessage) -> Event:
    """Return a message of binary mode in structured form."""
    attributes = {
        name.removeprefix("ce-"): value
        for name, value in message.headers.items()
        if name.startswith("ce-")
    }
    body = message.body or b"null"
    return {**attributes, "datacontenttype": "application/json", "data": json.loads(body)}
