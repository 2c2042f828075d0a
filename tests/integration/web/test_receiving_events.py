"""Events in, over HTTP: what an acceptance looks like."""

from __future__ import annotations

import dataclasses
import json

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.settings import COMMAND_EVENT_TYPES
from lambda_builder.web import models

JOB_NAME = "build-customer-1-parser-1-5377b83a48"
START = "network.notifi.lambda.build.start"
CANCEL = "network.notifi.lambda.build.cancel"


def event(number=1, kind=START, **data):
    return {
        "specversion": "1.0",
        "id": f"id-{number}",
        "source": f"network.notifi.customer-{number}",
        "type": kind,
        "data": {"parser_id": f"parser-{number}", **data},
    }


def send_batch(house, events, **headers):
    return house.client.post(
        "/events",
        data=json.dumps(events),
        headers={"Content-Type": "application/cloudevents-batch+json", **headers},
    )


@pytest.mark.parametrize("path", ["/events", "/"])
def test_an_accepted_event_is_answered_with_the_name_of_its_job(house, path):
    answer = house.client.post(
        path,
        headers={"Ce-Type": START, "Ce-Source": "network.notifi.customer-1", "Ce-Id": "id-1"},
        json={"parser_id": "parser-1"},
    )
    assert answer.status_code == 200
    assert answer.json == {
        "status": "queued",
        "job_name": JOB_NAME,
        "correlation_id": "id-1",
        "event_id": "id-1",
        "queue_size": 1,
        "result_url": f"/async-jobs/{JOB_NAME}",
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Location"] == f"/async-jobs/{JOB_NAME}"
    assert answer.headers["X-Job-Name"] == JOB_NAME
    assert answer.headers["X-Correlation-ID"] == "id-1"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_location_of_an_acceptance_leads_to_the_build(house, make_result):
    house.directory.builds[JOB_NAME] = make_result()
    location = house.post().headers["Location"]
    assert house.client.get(location).json["job_name"] == JOB_NAME


def test_the_command_from_the_readme_is_accepted_with_curls_default_content_type(house):
    answer = house.client.post(
        "/events",
        data='{"parser_id":"parser-1"}',
        headers={
            "Ce-Type": START,
            "Ce-Source": "network.notifi.customer-1",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    assert answer.status_code == 200
    assert answer.json["job_name"].startswith("build-customer-1-parser-1-")


@pytest.mark.parametrize(
    "prefer",
    ["reply", "Reply", "respond-async, reply", "wait=10,REPLY;q=1", 'a="x, y", reply', "reply=1"],
)
def test_a_sender_that_prefers_a_reply_gets_202_and_an_empty_body(house, prefer):
    answer = house.post(headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert answer.data == b""
    assert "Content-Type" not in answer.headers
    assert not [name for name, _ in answer.headers if name.lower().startswith("ce-")]
    assert answer.headers["X-Job-Name"] == JOB_NAME
    assert answer.headers["Location"] == f"/async-jobs/{JOB_NAME}"
    assert answer.headers["X-Correlation-ID"] == "id-1"


@pytest.mark.parametrize("prefer", ["", "respond-async", "replyx", 'a="x, reply"', "wait=reply"])
def test_another_preference_leaves_the_body_in_place(house, prefer):
    assert house.post(headers={"Prefer": prefer}).status_code == 200


def test_the_reply_mode_goes_before_what_the_sender_prefers(build_house):
    always_json, always_empty = build_house(reply_mode="json"), build_house(reply_mode="empty")
    assert always_json.post(headers={"Prefer": "reply"}).json["status"] == "queued"
    assert always_empty.post().status_code == 202
    assert always_empty.post().data == b""


def test_a_duplicate_is_answered_as_accepted_with_its_present_state(house):
    house.creator.status, house.creator.state = "duplicate", BuildState.SUCCEEDED
    answer = house.post()
    assert answer.status_code == 200
    assert (answer.json["status"], answer.json["state"]) == ("duplicate", "succeeded")
    assert answer.json["job_name"] == JOB_NAME


def test_a_duplicate_is_answered_with_the_correlation_id_of_its_build_in_body_and_header(house):
    accept = house.creator.accept

    def known_as_order_7(*arguments):
        return [
            dataclasses.replace(
                receipt, request=dataclasses.replace(receipt.request, correlation_id="order-7")
            )
            for receipt in accept(*arguments)
        ]

    house.creator.accept = known_as_order_7
    answer = house.post(headers={"X-Correlation-ID": "another"})
    assert answer.json["correlation_id"] == "order-7"
    assert answer.headers["X-Correlation-ID"] == "order-7"


def test_a_batch_gets_one_answer_for_each_event_in_its_order(house):
    answer = send_batch(house, [event(1), event(2), event(3)])
    assert answer.status_code == 200
    results = answer.json["results"]
    assert [result["event_id"] for result in results] == ["id-1", "id-2", "id-3"]
    assert [result["correlation_id"] for result in results] == ["id-1", "id-2", "id-3"]
    assert "Location" not in answer.headers
    models.BatchAnswer.model_validate(answer.json)


def test_a_batch_of_one_is_still_answered_as_a_batch(house):
    assert len(send_batch(house, [event(1)]).json["results"]) == 1


def test_a_batch_from_a_sender_that_prefers_a_reply_gets_an_empty_202(house):
    answer = send_batch(house, [event(1), event(2)], Prefer="reply")
    assert (answer.status_code, answer.data) == (202, b"")


def test_a_batch_with_one_bad_event_is_refused_whole_and_names_the_event(house):
    answer = send_batch(house, [event(1), event(2, parser_id=None)])
    assert answer.status_code == 400
    assert answer.json["errors"][0]["field"].startswith("[1]")
    assert house.creator.receipts == []


def test_builds_and_cancels_of_one_batch_are_both_carried_out(house):
    cancel = event(2, CANCEL, job_name="build-x-y-0123456789")
    answer = send_batch(house, [cancel, event(1)])
    assert [result["status"] for result in answer.json["results"]] == ["accepted", "queued"]
    assert answer.json["results"][0]["job_name"] == "build-x-y-0123456789"
    assert answer.json["results"][0]["result_url"] == "/async-jobs/build-x-y-0123456789"
    assert [what for what, _ in house.directory.asked] == ["cancel"]
    models.BatchAnswer.model_validate(answer.json)


def test_nothing_of_a_mixed_batch_is_cancelled_when_its_builds_are_refused(house):
    house.creator.refusal = Refused(RefusalCode.QUEUE_FULL, "job queue full", retry_after=3)
    answer = send_batch(house, [event(2, CANCEL, job_name="build-x"), event(1)])
    assert answer.status_code == 503
    assert house.directory.asked == []


@pytest.mark.parametrize("event_type", COMMAND_EVENT_TYPES)
def test_a_command_event_is_answered_as_accepted_whatever_comes_of_it(house, event_type):
    house.directory.refusal = Refused(RefusalCode.ALREADY_FINISHED, "it has long ended")
    answer = house.post(data={"correlation_id": "order-7"}, headers={"Ce-Type": event_type})
    assert answer.status_code == 200
    assert answer.json == {
        "status": "accepted",
        "job_name": None,
        "correlation_id": answer.headers["X-Correlation-ID"],
        "event_id": "id-1",
        "queue_size": None,
        "result_url": None,
    }
    assert "Location" not in answer.headers
    [(action, request)] = house.directory.asked
    assert action == event_type.rsplit(".", 1)[1]
    assert request.target_correlation_id == "order-7"
    assert house.creator.rejected == []


def test_every_acceptance_fits_the_model_that_describes_it(house):
    models.Accepted.model_validate(house.post().json)
    cancel = house.post(data={"job_name": "build-x"}, headers={"Ce-Type": CANCEL})
    models.Accepted.model_validate(cancel.json)


@pytest.mark.parametrize(
    ("correlation_id", "header"),
    [
        ("order 7", "order 7"),
        ("bestellung-ü", "bestellung-%C3%BC"),
        ("🚀", "%F0%9F%9A%80"),
    ],
)
def test_a_correlation_id_of_any_characters_survives_in_body_and_header(
    house, correlation_id, header
):
    answer = house.post(data={"parser_id": "p", "correlation_id": correlation_id})
    assert answer.status_code == 200
    assert answer.json["correlation_id"] == correlation_id
    assert answer.headers["X-Correlation-ID"] == header


def test_events_that_could_be_read_are_counted_by_type_and_mode(house):
    house.post()
    send_batch(house, [event(1), event(2, CANCEL, job_name="build-x")])
    house.post(headers={"Ce-Type": "com.example.unknown"})
    house.post(data={"parser_id": None})

    def count(kind, mode):
        labels = {"type": kind, "mode": mode}
        return house.metrics.registry.get_sample_value("cloudevents_received_total", labels)

    assert count(START, "binary") == 1
    assert (count(START, "batch"), count(CANCEL, "batch")) == (1, 1)
    assert count("other", "binary") == 1
