"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

import re

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from lambda_builder import __version__
from lambda_builder.problems import KINDS
from lambda_builder.web import models

BASE = "urn:openapi"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture
def document(house):
    answer = house.client.get("/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, item, operation


def walk(node):
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


def resolve(document, node):
    while "$ref" in node:
        target = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def validator(document, schema):
    resource = Resource.from_contents(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}
    )
    registry = Registry().with_resource(BASE, resource)
    absolute = _absolute(schema)
    return Draft202012Validator(absolute, registry=registry)


def _absolute(node):
    if isinstance(node, dict):
        return {
            key: BASE + value if key == "$ref" else _absolute(value) for key, value in node.items()
        }
    return [_absolute(value) for value in node] if isinstance(node, list) else node


def test_the_document_names_its_version_and_the_services(document):
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["version"] == __version__
    assert document["info"]["title"]
    allowed = {"openapi", "info", "jsonSchemaDialect", "servers", "paths", "webhooks"}
    assert set(document) <= {*allowed, "components", "security", "tags", "externalDocs"}


def test_every_reference_leads_somewhere_and_every_component_is_used(document):
    used = set()
    for node in walk(document):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            assert resolve(document, node)
            used.add(node["$ref"])
    for required in document["security"]:
        used |= {f"#/components/securitySchemes/{name}" for name in required}
    defined = {
        f"#/components/{kind}/{name}"
        for kind, items in document["components"].items()
        for name in items
    }
    # Statuses that follow from no rule of an operation are described all the same.
    spare = {f"#/components/responses/Problem{status}" for status in (405, 500)}
    assert defined - used <= spare


def test_every_operation_is_well_formed(document):
    names = set()
    for path, method, item, operation in operations(document):
        where = f"{method} {path}"
        assert operation["operationId"] not in names, where
        names.add(operation["operationId"])
        assert operation["summary"], where
        assert set(operation["tags"]) <= {tag["name"] for tag in document["tags"]}, where
        assert operation["responses"], where
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status), where
            response = resolve(document, response)
            assert response["description"], where
            assert set(response) <= {"description", "headers", "content", "links"}, where
        parameters = [
            resolve(document, parameter)
            for parameter in [*item.get("parameters", ()), *operation.get("parameters", ())]
        ]
        in_path = {p["name"] for p in parameters if p["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), where
        assert all(p["required"] for p in parameters if p["in"] == "path"), where
        assert all(("schema" in p) != ("content" in p) for p in parameters), where
        assert len({(p["name"], p["in"]) for p in parameters}) == len(parameters), where


def test_every_schema_is_a_valid_json_schema(document):
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for node in walk(document["paths"]):
        if isinstance(node, dict) and "schema" in node:
            Draft202012Validator.check_schema(node["schema"])


def test_every_route_is_described_and_every_description_has_its_route(house, document):
    served = set()
    for rule in house.app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        automatic = (
            {"HEAD"}
            if rule.endpoint.endswith(("options", "options_at_root"))
            else {
                "HEAD",
                "OPTIONS",
            }
        )
        served |= {(path, method.lower()) for method in rule.methods - automatic}
    described = {(path, method) for path, method, _, _ in operations(document)}
    assert described == served


def test_every_example_fits_its_schema(document):
    count = 0
    for node in walk({key: document[key] for key in ("paths", "components")}):
        if not isinstance(node, dict) or "schema" not in node:
            continue
        shown = [example["value"] for example in node.get("examples", {}).values()]
        shown += [node["example"]] if "example" in node else []
        for value in shown:
            validator(document, node["schema"]).validate(value)
            count += 1
    assert count > 20


def test_every_answers_example_fits_the_model_that_answers_are_held_to(document):
    held = set()
    for node in walk(document["paths"]):
        if not isinstance(node, dict) or "schema" not in node or "examples" not in node:
            continue
        shapes = node["schema"].get("oneOf", [node["schema"]])
        names = [shape.get("$ref", "").rpartition("/")[2] for shape in shapes]
        if not all(hasattr(models, name) for name in names if name) or not any(names):
            continue
        for (_, example), name in zip(node["examples"].items(), names, strict=True):
            getattr(models, name).model_validate(example["value"])
            held.add(name)
    assert held == {
        *("Accepted", "AuditPage", "BatchAnswer", "Build", "BuildPage", "BulkAnswer"),
        *("RejectedEvents", "Stats"),
    }


def test_the_published_limits_are_those_that_hold(house, document):
    parameters = document["paths"]["/async-jobs"]["get"]["parameters"]
    [limit] = [p["schema"] for p in parameters if p["name"] == "limit"]
    for value, status in ((limit["maximum"], 200), (limit["maximum"] + 1, 400)):
        assert house.client.get(f"/async-jobs?limit={value}").status_code == status
    house.client.get("/async-jobs")
    assert house.directory.asked[-1][1][1] == limit["default"]
    batch = document["components"]["schemas"]["CloudEventBatch"]
    event = {"specversion": "1.0", "source": "s", "type": "network.notifi.lambda.build.start"}
    for count, status in ((batch["maxItems"], 200), (batch["maxItems"] + 1, 400)):
        events = [{**event, "id": f"{n}", "data": {"parser_id": "p"}} for n in range(count)]
        answer = house.client.post(
            "/events", json=events, headers={"Content-Type": "application/cloudevents-batch+json"}
        )
        assert answer.status_code == status


def test_real_answers_fit_the_published_schemas(house, document, make_result):
    house.directory.builds["order-7"] = make_result()
    client, schemas = house.client, document["components"]["schemas"]
    for answer, name in (
        (house.post(), "Accepted"),
        (client.get("/async-jobs/order-7"), "Build"),
        (client.get("/async-jobs"), "BuildPage"),
        (client.get("/async-jobs/stats"), "Stats"),
        (client.get("/async-jobs/nobody"), "Problem"),
        (house.post(data={"parser_id": 1}), "Problem"),
    ):
        validator(document, schemas[name]).validate(answer.json)


def test_the_published_event_data_is_what_is_accepted(house, document):
    check = validator(document, document["components"]["schemas"]["BuildData"])
    for data in (
        {"parser_id": "p"},
        {"parser_id": "p", "build_args": {"A": "1"}, "priority": "high", "unknown": 1},
        {"parser_id": None},
        {"parser_id": ""},
        {"parser_id": "p", "priority": "urgent"},
        {"parser_id": "p" * 254},
        {"parser_id": "p", "build_args": {"A": 1}},
        {"third_party_id": "t"},
    ):
        assert (house.post(data=data).status_code == 200) == check.is_valid(data), data


def test_every_status_a_refusal_can_have_is_described_with_its_codes(document):
    for code, kind in KINDS.items():
        response = document["components"]["responses"][f"Problem{kind.status}"]
        assert f"`{code}`" in response["description"]
        assert ("Retry-After" in response["headers"]) == (kind.status in (429, 503))


def test_an_attribute_may_be_null_where_its_absence_is_filled_in(build_house):
    for strict in (False, True):
        house = build_house(strict_cloudevents=strict)
        document = house.client.get("/openapi.json").json
        check = validator(document, document["components"]["schemas"]["CloudEvent"])
        good = {
            "specversion": "1.0",
            "id": "1",
            "source": "s",
            "type": "network.notifi.lambda.build.start",
            "datacontenttype": "application/json",
            "data": {"parser_id": "p"},
        }
        for name in ("specversion", "id", "source", "type", "time", "data_base64", "data"):
            event = {**good, name: None}
            answer = house.client.post(
                "/events", json=event, headers={"Content-Type": "application/cloudevents+json"}
            )
            assert (answer.status_code == 200) == check.is_valid(event), (strict, name)


def test_a_strict_service_publishes_that_attributes_are_required(build_house):
    required = {}
    for strict in (False, True):
        house = build_house(strict_cloudevents=strict)
        schemas = house.client.get("/openapi.json").json["components"]["schemas"]
        required[strict] = schemas["CloudEvent"]["required"]
    assert required[False] == ["type"]
    assert set(required[True]) == {"specversion", "id", "source", "type"}


def test_whatever_is_sent_or_answered_has_an_example(document):
    for path, method, item, operation in operations(document):
        for node in (*item.get("parameters", ()), *operation.get("parameters", ())):
            parameter = resolve(document, node)
            assert "example" in parameter, (path, method, parameter["name"])
        bodies = [operation.get("requestBody", {})]
        bodies += [resolve(document, answer) for answer in operation["responses"].values()]
        for body in bodies:
            for media, content in body.get("content", {}).items():
                assert content["examples"], (path, method, media)


def test_every_refusal_is_described_with_what_to_do(document):
    refusals = document["components"]["responses"]
    assert refusals.pop("TooLong")  # of no status of its own
    for status, shown in refusals.items():
        example = shown["content"]["application/problem+json"]["examples"]["example"]["value"]
        codes = re.findall(r"^\* `(\w+)`: [A-Z].*\.$", shown["description"], re.MULTILINE)
        assert example["code"] in codes
        assert f"Problem{example['status']}" == status
        assert codes == [code for code, kind in KINDS.items() if kind.status == example["status"]]
