"""Write ``docs/schemas``: ``python docs/schemas.py``, or ``make docs``.

A JSON Schema for the data of each type of event, in and out, and an AsyncAPI 3 document of them
all. They are made from the models that validate what comes in, and that tests hold to what goes
out. A test holds the files to what this would write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lambda_builder import __version__
from lambda_builder.events import data
from lambda_builder.outgoing.messages import LIFECYCLE_PREFIX, TYPE_PREFIX
from lambda_builder.settings import BUILD_EVENT_TYPES, CANCEL_EVENT_TYPES, RETRY_EVENT_TYPES
from lambda_builder.web import event_models as out

FOLDER = Path(__file__).parent / "schemas"
ASYNCAPI = "asyncapi.json"
_Json = dict[str, Any]

OURS, UPSTREAMS = 0, 1
"""Places of the families in the settings' types."""
IN: Mapping[str, type[BaseModel]] = {
    BUILD_EVENT_TYPES[OURS]: data.BuildData,
    BUILD_EVENT_TYPES[UPSTREAMS]: data.UpstreamBuildData,
    CANCEL_EVENT_TYPES[OURS]: data.CommandData,
    CANCEL_EVENT_TYPES[UPSTREAMS]: data.UpstreamCommandData,
    RETRY_EVENT_TYPES[OURS]: data.CommandData,
    RETRY_EVENT_TYPES[UPSTREAMS]: data.UpstreamCommandData,
}
OUT: Mapping[str, type[BaseModel]] = {
    f"{TYPE_PREFIX}accepted": out.Progress,
    f"{TYPE_PREFIX}started": out.Progress,
    f"{TYPE_PREFIX}complete": out.Completed,
    f"{TYPE_PREFIX}failed": out.Ended,
    f"{TYPE_PREFIX}timeout": out.Ended,
    f"{TYPE_PREFIX}cancelled": out.Ended,
    f"{TYPE_PREFIX}rejected": out.Rejected,
    f"{LIFECYCLE_PREFIX}accepted": out.UpstreamProgress,
    f"{LIFECYCLE_PREFIX}started": out.UpstreamProgress,
    f"{LIFECYCLE_PREFIX}completed": out.UpstreamCompleted,
    f"{LIFECYCLE_PREFIX}failed": out.UpstreamEnded,
    f"{LIFECYCLE_PREFIX}timeout": out.UpstreamEnded,
    f"{LIFECYCLE_PREFIX}cancelled": out.UpstreamEnded,
    f"{LIFECYCLE_PREFIX}rejected": out.Rejected,
}
"""The data of each type of event."""


def main() -> None:
    """Write the files, and remove those that are none any more."""
    FOLDER.mkdir(exist_ok=True)
    wanted = files()
    for path in FOLDER.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


def files() -> dict[str, str]:
    """Return what is to be in the folder, by name."""
    found = {f"{event_type}.json": data_schema(event_type) for event_type in (*IN, *OUT)}
    return {name: f"{json.dumps(each, indent=2)}\n" for name, each in found.items()} | {
        ASYNCAPI: f"{json.dumps(asyncapi(), indent=2)}\n"
    }


def data_schema(event_type: str) -> _Json:
    """Return the JSON Schema of the data of events of that type."""
    if event_type in IN:
        schema = IN[event_type].model_json_schema(mode="validation")
    else:
        schema = OUT[event_type].model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def asyncapi() -> _Json:
    """Return the AsyncAPI document: https://www.asyncapi.com/docs/reference/specification/v3.0.0"""
    came = {_name(each): _message(each, _arrived(each)) for each in IN}
    told = {_name(each): _message(each, _sent(each)) for each in OUT}
    dead = {"deadLetter": _dead_letter()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "lambda-builder",
            "version": __version__,
            "description": "CloudEvents 1.0 over HTTP: what starts and steers builds, and what "
            "tells of them. What the answers are is in /openapi.json.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": _channel("/events", "What the service takes.", came),
            "sink": _channel(None, "What it sends to SINK_URL.", told),
            "deadLetters": _channel(None, "What it sends to DEAD_LETTER_URL.", dead),
        },
        "operations": {
            "takeEvents": _operation("receive", "events"),
            "tellOfBuilds": _operation("send", "sink"),
            "sendDeadLetters": _operation("send", "deadLetters"),
        },
        "components": {"messages": {**came, **told, **dead}},
    }


def _name(event_type: str) -> str:
    return event_type.replace(".", "-")


def _channel(address: str | None, description: str, messages: Mapping[str, Any]) -> _Json:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _operation(action: str, channel: str) -> _Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
    }


def _message(event_type: str, headers: _Json) -> _Json:
    model = {**IN, **OUT}[event_type]
    return {
        "name": event_type,
        "title": event_type,
        "summary": " ".join((model.__doc__ or "").partition("\n\n")[0].split()),
        "contentType": "application/json",
        "headers": headers,
        "payload": {"$ref": f"./{event_type}.json"},
    }


def _dead_letter() -> _Json:
    marks = {
        "ce-lambdabuildererror": {"type": "string", "description": "The code of the failure"},
        "ce-lambdabuilderattempts": {"type": "string", "pattern": "^[0-9]+$"},
    }
    headers = _arrived(None)
    return {
        "name": "deadLetter",
        "title": "The event of a build that could not be made",
        "summary": "The event as it came, with two extensions.",
        "contentType": "application/json",
        "headers": {
            **headers,
            "properties": {**headers["properties"], **marks},
            "required": [*headers["required"], *marks],
        },
        "payload": {"type": "object"},
    }


def _arrived(event_type: str | None) -> _Json:
    """The attributes of an event in binary mode, as it may come or is passed on."""
    kind: _Json = {"type": "string"} if event_type is None else {"const": event_type}
    texts = {name: {"type": "string", "minLength": 1} for name in ("ce-id", "ce-source")}
    return {
        "type": "object",
        "properties": {"ce-specversion": {"const": "1.0"}, **texts, "ce-type": kind},
        "required": ["ce-specversion", "ce-id", "ce-source", "ce-type"],
    }


def _sent(event_type: str) -> _Json:
    """The attributes of an event of ours, in binary mode."""
    headers = _arrived(event_type)
    own = {"ce-time": {"type": "string", "format": "date-time"}}
    if OUT[event_type] is not out.Rejected:
        own |= {name: {"type": "string"} for name in ("ce-subject", "ce-correlationid")}
    return {
        **headers,
        "properties": {**headers["properties"], **own},
        "required": [*headers["required"], *own],
    }


if __name__ == "__main__":
    main()
