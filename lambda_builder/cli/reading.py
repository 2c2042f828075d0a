"""The events that ``lambda-builder send`` sends: from options, and from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from lambda_builder.client import build_event

Event = dict[str, Any]


def events_of(text: str, options: dict[str, Any]) -> Iterator[tuple[int, Event]]:
    """Return the events of a file, each with its line: CloudEvents in structured form, or data.

    A file is one JSON object, a list of them, or an object a line. What an object does not say is
    taken from ``options``. Raises ``click.UsageError`` for what is none.
    """
    if not text.strip():
        raise click.UsageError("there is no event: give --parser-id, or a file that has some.")
    objects = list(_objects(text))
    for place, (line, found) in enumerate(objects, 1):
        number = place if len(objects) > 1 else None
        yield line, event_of(found, options, number)


def event_of(found: Event, options: dict[str, Any], number: int | None = None) -> Event:
    """Return the event that an object means, with ``options`` for what it does not say.

    An ``event_id`` is for all of them, with the ``number`` of each where there are several.
    """
    own = {name: value for name, value in options.items() if value is not None}
    if "event_id" in own and number is not None:
        own["event_id"] = f"{own['event_id']}-{number}"
    if "type" not in found and "specversion" not in found:
        return build_event(**{"parser_id": "", **own, **found})
    data = found.get("data") or {}
    names = {"id": "event_id", "source": "source", "type": "event_type"}
    attributes = {name: own[option] for name, option in names.items() if option in own}
    rest = {name: value for name, value in own.items() if name not in names.values()}
    defaults = build_event("", event_id=attributes.pop("id", None), **_event_options(own))
    return {**defaults, **attributes, **found, "data": {**rest, **data}}


def _event_options(own: Event) -> Event:
    names = ("source", "event_type", "third_party_id")
    return {name: own[name] for name in names if name in own}


def _objects(text: str) -> Iterator[tuple[int, Event]]:
    try:
        whole = json.loads(text)
    except ValueError:
        lines = enumerate(text.splitlines(), 1)
        found = [(number, _parsed(line, number)) for number, line in lines if line.strip()]
    else:
        found = list(enumerate(whole if isinstance(whole, list) else [whole], 1))
    for number, each in found:
        if not isinstance(each, dict):
            raise click.UsageError(f"event {number} is no JSON object.")
        if not isinstance(each.get("data") or {}, dict):
            raise click.UsageError(f"the data of event {number} is no JSON object.")
        yield number, each


def _parsed(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"line {number} is no JSON: {error}.") from error
