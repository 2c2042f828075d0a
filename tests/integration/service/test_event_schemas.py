"""What the running service takes and sends is what docs/schemas says."""

from __future__ import annotations

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.settings import BUILD_EVENT_TYPES, CANCEL_EVENT_TYPES
from tests.event_schemas import data_validator, header_validator
from tests.http_sink import HttpSink
from tests.waiting import wait_until

NEWS = ("accepted", "started", "failed", "cancelled", "rejected")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    with DevCluster(run_seconds=0.2, pending_seconds=0.02) as running:
        running.write_kubeconfig(tmp_path / "kubeconfig")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield running


@pytest.fixture
def sinks():
    made = HttpSink(), HttpSink()
    yield made
    for each in made:
        each.close()


@pytest.mark.parametrize("family", [0, 1], ids=["ours", "upstream's"])
def test_events_in_and_out_fit_their_schemas(start, cluster, sinks, family):
    sink, dead_letters = sinks
    running = start(sink_url=sink.url, dead_letter_url=dead_letters.url)
    cluster.add_fault(Fault("deny", verb="create", resource="jobs", name_prefix="build-t-dead"))
    cluster.add_fault(Fault("slow_pods", name_prefix="build-t-slow", seconds=60))

    def send(name, event_type=BUILD_EVENT_TYPES[family], **data):
        event = {"specversion": "1.0", "id": name, "source": "s", "type": event_type, "data": data}
        answer = running.http.post(
            "/events", json=event, content_type="application/cloudevents+json"
        )
        assert (answer.status_code == 200) == data_validator(event_type).is_valid(data), name

    for name in ("good", "dead", "slow"):
        send(name, parser_id=name, third_party_id="t")
    send("wrong", parser_id=1)
    running.wait_for("slow", BuildState.CREATED)
    send("cancel", CANCEL_EVENT_TYPES[family], correlation_id="slow")

    def told():
        last = {headers["ce-type"].rsplit(".", 1)[1] for headers, _ in list(sink.events)}
        return {"complete" if each == "completed" else each for each in last}

    wait_until(lambda: told() == {*NEWS, "complete"}, lambda: f"all news, came: {told()}", 20)
    for headers, data in list(sink.events):
        header_validator(headers["ce-type"]).validate(headers)
        data_validator(headers["ce-type"]).validate(data)
    wait_until(lambda: dead_letters.events, "the dead letter")
    [(headers, data)] = dead_letters.events
    header_validator("deadLetter").validate(headers)
    data_validator(headers["ce-type"]).validate(data)
