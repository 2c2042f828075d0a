"""The schemas of events under docs/schemas, to hold events to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "schemas"
ASYNCAPI = FOLDER / "asyncapi.json"


def messages() -> dict[str, Any]:
    """Return the messages of the AsyncAPI document by their names, which are events' types."""
    found = json.loads(ASYNCAPI.read_text())["components"]["messages"].values()
    return {message["name"]: message for message in found}


def data_validator(event_type: str) -> Draft202012Validator:
    """Return what checks the data of events of that type."""
    return Draft202012Validator(json.loads((FOLDER / f"{event_type}.json").read_text()))


def header_validator(name: str) -> Draft202012Validator:
    """Return what checks the headers, lower-cased, of a message of the document."""
    return Draft202012Validator(messages()[name]["headers"])
