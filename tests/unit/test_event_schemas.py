"""The schemas of events are those of the code, are proper schemas, and fit real events."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from lambda_builder.settings import BUILD_EVENT_TYPES, COMMAND_EVENT_TYPES
from tests.event_schemas import ASYNCAPI, FOLDER, ROOT, data_validator, header_validator, messages

STANDARD = Path(__file__).with_name("asyncapi-3.0.0.json")


def test_the_files_are_what_the_code_says() -> None:
    asked = "import schemas, json; print(json.dumps(schemas.files()))"
    said = subprocess.run(
        [sys.executable, "-c", asked],
        env={"PYTHONPATH": f"{ROOT / 'docs'}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    there = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert there == json.loads(said.stdout), "run `make docs`"


def test_the_document_is_what_asyncapi_asks_for() -> None:
    Draft7Validator(json.loads(STANDARD.read_text())).validate(json.loads(ASYNCAPI.read_text()))


def test_every_reference_of_the_document_leads_to_something() -> None:
    document = json.loads(ASYNCAPI.read_text())
    found = 0
    for reference in references(document):
        file, _, pointer = reference.partition("#")
        if file:
            assert (FOLDER / file).exists(), reference
        node = document
        for step in pointer.removeprefix("/").split("/") if pointer else ():
            node = node[step]
        found += 1
    assert found > 40


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [each for child in node for each in references(child)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if "$ref" in node else []
    return own + [each for child in node.values() for each in references(child)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.*.*.json")), ids=lambda path: path.stem)
def test_each_schema_is_a_json_schema_of_a_type_of_the_document(path: Path) -> None:
    schema = json.loads(path.read_text())
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
    assert messages()[path.stem]["payload"] == {"$ref": f"./{path.name}"}


def test_every_type_that_is_taken_is_in_the_document() -> None:
    assert {*BUILD_EVENT_TYPES, *COMMAND_EVENT_TYPES} <= set(messages())


def test_a_made_up_event_fits_none() -> None:
    for event_type in messages():
        if event_type != "deadLetter":
            assert not data_validator(event_type).is_valid({"job_name": 1, "correlation_id": None})
            assert not header_validator(event_type).is_valid({"ce-type": event_type})
