"""The schemas of events are those of the code, are proper schemas, and fit real events."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any, get_args

import pytest
from cloudevents.core.bindings.http import HTTPMessage
from jsonschema import Draft7Validator, Draft202012Validator

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
)
from lambda_builder.events.reader import EventReader
from lambda_builder.outgoing.messages import (
    BuildNews,
    build_event,
    dead_letter,
    handoff,
    rejected_event,
)
from lambda_builder.settings import BUILD_EVENT_TYPES, COMMAND_EVENT_TYPES
from tests.event_schemas import ASYNCAPI, FOLDER, ROOT, data_validator, header_validator, messages

STANDARD = Path(__file__).with_name("asyncapi-3.0.0.json")


def test_the_files_are_what_the_code_says() -> None:
    wanted = runpy.run_path(str(ROOT / "docs" / "schemas.py"))["files"]()
    there = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert there == wanted, "run `make docs`"


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


def test_the_page_of_outgoing_events_names_every_type_that_is_sent() -> None:
    page = " ".join((ROOT / "docs" / "events-out.rst").read_text().split())
    sent = {name for name in messages() if "." in name} - {*BUILD_EVENT_TYPES, *COMMAND_EVENT_TYPES}
    assert len(sent) == 14
    for event_type in sent:
        family, kind = event_type.rsplit(".", 1)
        assert f"``{event_type}``" in page or (f"``{family}." in page and f"``.{kind}``" in page)


def test_a_made_up_event_fits_none() -> None:
    for event_type in messages():
        if event_type != "deadLetter":
            assert not data_validator(event_type).is_valid({"job_name": 1, "correlation_id": None})
            assert not header_validator(event_type).is_valid({"ce-type": event_type})


# -- what is sent ------------------------------------------------------------------------------


TYPES = dict(zip(("ours", "upstream's"), BUILD_EVENT_TYPES, strict=True))
STATES = {
    "accepted": BuildState.QUEUED,
    "started": BuildState.RUNNING,
    "complete": BuildState.SUCCEEDED,
    "failed": BuildState.DEAD,
    "timeout": BuildState.FAILED,
    "cancelled": BuildState.CANCELLED,
}


def request_of(event_type: str) -> BuildRequest:
    reader = EventReader(strict=True, build_event_types=BUILD_EVENT_TYPES)
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": event_type}
    body = json.dumps({**event, "data": {"name": "p", "parser_id": "p", "namespace": "t"}})
    sent = {"Content-Type": "application/cloudevents+json"}
    [request] = reader.read(sent, body.encode(), now=1_800_000_000.0).events
    assert isinstance(request, BuildRequest)
    return request


def assert_described(message: HTTPMessage) -> str:
    """Hold a message to the schemas of its type; returns that."""
    event_type = message.headers["ce-type"]
    header_validator(event_type).validate(dict(message.headers))
    data_validator(event_type).validate(json.loads(message.body))
    return event_type


@pytest.mark.parametrize("known", [False, True], ids=["nothing", "everything"])
@pytest.mark.parametrize("family", TYPES)
def test_news_of_every_kind_fit_their_schemas_whatever_is_known(family: str, known: bool) -> None:
    request = request_of(TYPES[family])
    everything: dict[str, Any] = {
        "job_uid": "u",
        "namespace": "n",
        "image": "i",
        "image_digest": f"sha256:{'0' * 64}",
        "attempts": 2,
        "created_at": 1_800_000_001.0,
        "started_at": 1_800_000_002.0,
        "finished_at": 1_800_000_003.5,
        "error": BuildError("build_failed", "exit code 1", FailureCategory.DOCKERFILE),
    }
    told = set()
    for kind in get_args(BuildNews):
        result = BuildResult(request=request, state=STATES[kind], **(everything if known else {}))
        provenance = {"payload": "e30="} if known else None
        message = build_event(
            kind, result, source="s", time=1.0, overrides={}, provenance=provenance
        )
        told.add(assert_described(message))
    refused = rejected_event(
        "invalid_data", "parser_id: is required", "{}", body=b"", event_type=TYPES[family],
        source="s", time=1.0, overrides={}, correlation_id="c" if known else None,
    )  # fmt: skip
    told.add(assert_described(refused))
    assert len(told) == len(STATES) + 1


def test_a_dead_letter_fits_its_message() -> None:
    message = dead_letter(request_of(TYPES["ours"]), error="forbidden", attempts=1)
    header_validator("deadLetter").validate(dict(message.headers))
    unmarked = handoff(request_of(TYPES["ours"]))
    assert not header_validator("deadLetter").is_valid(dict(unmarked.headers))
