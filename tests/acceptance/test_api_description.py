"""The service does what its own description says: schemathesis judges each answer by it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.api import check_that_it_still_builds, compare
from tests.processes import BUILD_TYPE, ClusterProcess, ServiceProcess
from tests.waiting import wait_until

Link = tuple[str, str, str]
"""The operation that it leads from, the status of the answer, and its name."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """Builds take longer than the tests, so that all can be cancelled."""
    options = "--run-seconds", "120", "--pending-seconds", "0.05"
    with ClusterProcess(tmp_path_factory.mktemp("cluster"), *options) as running:
        yield running


@pytest.fixture(scope="module")
def service(
    cluster: ClusterProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    with ServiceProcess(cluster.kubeconfig, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def description(service: ServiceProcess) -> Description:
    import schemathesis  # noqa: PLC0415 - for all workers of a run it takes seconds

    return Description(schemathesis.openapi.from_url(f"{service.url}/openapi.json"))


def test_no_request_shows_a_difference_between_description_and_behaviour(
    cluster: ClusterProcess, service: ServiceProcess, tmp_path: Path
) -> None:
    told = compare(service, tmp_path, phases="examples,fuzzing", examples=5, capture=True)
    assert told.returncode == 0, told.stdout
    check_that_it_still_builds(cluster, service)


class Description:
    """Calls operations by their IDs; each answer is held to what is described."""

    def __init__(self, schema: Any) -> None:
        self._operations = {
            operation["operationId"]: schema[path][method.upper()]
            for path, item in schema.raw_schema["paths"].items()
            for method, operation in item.items()
            if method != "parameters"
        }

    def links(self) -> dict[Link, dict[str, Any]]:
        return {
            (name, status, title): link
            for name, operation in self._operations.items()
            for status, answer in operation.definition.raw["responses"].items()
            for title, link in answer.get("links", {}).items()
        }

    def call(self, name: str, **said: Any) -> Any:
        return self._operations[name].Case(**said).call_and_validate()


def events(description: Description) -> Iterator[tuple[str, Any]]:
    """Send events in each way that answers differ in."""
    for name in ("receiveEvents", "receiveEventsAtRoot"):
        for prefer in ({}, {"Prefer": "reply"}):
            headers = {"Ce-Type": BUILD_TYPE, "Ce-Id": f"{name}{len(prefer)}", **prefer}
            data = {"parser_id": "p"}
            sent = {"body": data, "media_type": "application/json", "headers": headers}
            yield name, description.call(name, **sent)


def test_every_link_leads_from_a_real_answer_to_one_that_is_as_described(
    cluster: ClusterProcess, service: ServiceProcess, description: Description
) -> None:
    cluster.add_fault("status", status=422, verb="create", resource="jobs", times=1)
    builds = {"retryBuild": service.post("dead").json()["job_name"]}
    wait_until(lambda: service.stats()["dead_total"] == 1, "a build that can be retried")
    for name in ("getBuild", "getBuildUpstream", "cancelBuild", "cancelBuildUpstream"):
        builds[name] = service.post(name).json()["job_name"]
    answers = deque(events(description))
    for name in ("listBuilds", "listBuildsUpstream"):
        answers.append((name, description.call(name, query={"limit": 1})))
    for name, build in builds.items():
        answers.append((name, description.call(name, path_parameters={"build_id": build})))
    links = description.links()
    followed: set[Link] = set()
    while answers:
        name, answer = answers.popleft()
        for link in links.keys() - followed:
            if link[:2] == (name, str(answer.status_code)):
                followed.add(link)
                target = links[link]["operationId"]
                answers.append((target, follow(description, links[link], answer)))
    assert followed == links.keys()


def follow(description: Description, link: dict[str, Any], answer: Any) -> Any:
    [(parameter, expression)] = link["parameters"].items()
    if expression.startswith("$response.header."):
        value = answer.headers[expression.rpartition(".")[2].lower()][0]
    else:
        value = json.loads(answer.content)[expression.rpartition("#/")[2]]
    assert value is not None
    kind = "path_parameters" if parameter == "build_id" else "query"
    return description.call(link["operationId"], **{kind: {parameter: value}})
