"""Lists that take long, or whose revision is not to be had any more."""

from __future__ import annotations

import threading
import time

import pytest

from lambda_builder.devcluster import DevCluster, Fault

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"


@pytest.fixture
def forgetful(connect, new_job):
    """A cluster whose history is gone, and the token and revision of a list from before."""
    with DevCluster(history=20) as cluster:
        api = connect(cluster)
        cluster.pause_kubelet()
        for number in range(3):
            api("POST", JOBS, new_job(f"old-{number}"))
        first = api("GET", f"{JOBS}?limit=1").json["metadata"]
        for number in range(40):
            api("POST", JOBS, new_job(f"young-{number}"))
        yield api, first


def test_the_next_page_of_a_list_from_before_the_history_is_gone(forgetful):
    api, first = forgetful
    answer = api("GET", f"{JOBS}?limit=1&continue={first['continue']}")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")
    assert answer.json["message"].startswith(
        "The provided continue parameter is too old to display a consistent list result."
    )


def test_the_token_of_a_410_goes_on_with_what_is_there_now(forgetful):
    api, first = forgetful
    refused = api("GET", f"{JOBS}?limit=1&continue={first['continue']}").json
    rest = api("GET", f"{JOBS}?continue={refused['metadata']['continue']}")
    assert rest.status == 200
    assert len(rest.json["items"]) == 42
    assert int(rest.json["metadata"]["resourceVersion"]) > int(first["resourceVersion"])


def test_a_list_of_exactly_one_revision_is_gone_with_the_history(forgetful):
    api, first = forgetful
    exact = f"{JOBS}?resourceVersionMatch=Exact&resourceVersion="
    answer = api("GET", exact + first["resourceVersion"])
    assert (answer.status, answer.json["reason"]) == (410, "Expired")
    assert answer.json["message"] == "The resourceVersion for the provided list is too old."
    now = api("GET", JOBS).json["metadata"]["resourceVersion"]
    assert api("GET", exact + now).json["metadata"]["resourceVersion"] == now


def test_a_list_of_a_revision_of_the_future_asks_to_come_again(api):
    answer = api("GET", f"{JOBS}?resourceVersion=99999999999999999")
    assert (answer.status, answer.headers["retry-after"]) == (504, "1")
    assert "Too large resource version" in answer.json["message"]


def test_a_list_can_be_made_to_expire_between_its_pages(api, cluster, new_job):
    for number in range(3):
        api("POST", JOBS, new_job(f"job-{number}"))
    cluster.add_fault(Fault("expire_list", resource="jobs", times=1))
    page = api("GET", f"{JOBS}?limit=1")
    assert page.status == 200
    token = page.json["metadata"]["continue"]
    assert api("GET", f"{JOBS}?limit=1&continue={token}").status == 410
    assert api("GET", f"{JOBS}?limit=1&continue={token}").status == 200


def test_a_slow_list_holds_up_no_other_request(cluster, connect, new_job, wait_until):
    cluster.add_fault(Fault("latency", verb="list", resource="jobs", seconds=0.5))
    began = time.monotonic()
    took: list[float] = []

    def read() -> None:
        assert connect(cluster)("GET", JOBS).status == 200
        took.append(time.monotonic() - began)

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(cluster.requests)
    assert connect(cluster)("POST", JOBS, new_job()).status == 201
    assert not took
    thread.join(10)
    assert took[0] >= 0.5
