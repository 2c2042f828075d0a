"""Changes of builds as server-sent events."""

from __future__ import annotations

import json

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.web import changes
from lambda_builder.web.services import EXTENSION


@pytest.fixture
def feed(house):
    return house.app.extensions[EXTENSION].changes


class Stream:
    """An open stream; its events as they come."""

    def __init__(self, house, **headers):
        self.answer = house.client.get("/async-jobs/changes", headers=headers, buffered=False)
        self._chunks = self.answer.iter_encoded()
        self.blocks = self._blocks()

    def _blocks(self):
        for chunk in self._chunks:
            yield from filter(None, chunk.decode("ascii").split("\n\n"))

    def event(self, *names):
        """Return the next event of one of these names, as a mapping of its fields."""
        for block in self.blocks:
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            if fields.get("event") in names:
                return fields
        raise AssertionError(f"the stream ended before {names}")

    def close(self):
        self.answer.close()


@pytest.fixture
def stream(house):
    opened = []

    def make(**headers):
        opened.append(Stream(house, **headers))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_a_stream_tells_changes_with_their_number_and_the_stats(feed, stream, make_result):
    feed.note(make_result(state=BuildState.QUEUED))  # before anybody listened
    listening = stream()
    assert listening.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert listening.answer.headers["X-Accel-Buffering"] == "no"
    stats = listening.event("stats")
    assert json.loads(stats["data"])["worker_count"] == 5
    feed.note(make_result(state=BuildState.RUNNING))
    change = listening.event("change")
    assert change["id"] == f"{feed.epoch}-2"
    assert json.loads(change["data"])["state"] == "running"


def test_whoever_comes_back_is_told_what_he_missed(feed, stream, make_result):
    first = stream()
    assert next(first.blocks).splitlines()[-1] == f"id: {feed.epoch}-0"  # an id to come back with
    for state in (BuildState.QUEUED, BuildState.CREATED, BuildState.RUNNING):
        feed.note(make_result(state=state))
    again = stream(**{"Last-Event-ID": f"{feed.epoch}-1"})
    states = [json.loads(again.event("change")["data"])["state"] for _ in range(2)]
    assert states == ["created", "running"]


def test_what_was_missed_is_not_passed_over_by_the_id_that_comes_first(feed, stream, make_result):
    """The connection may break before the changes are read."""
    for state in (BuildState.QUEUED, BuildState.RUNNING):
        feed.note(make_result(state=state))
    back = stream(**{"Last-Event-ID": f"{feed.epoch}-1"})
    assert next(back.blocks).splitlines()[-1] == f"id: {feed.epoch}-1"


def test_a_stream_ends_in_time_so_that_its_reader_is_asked_again_who_he_is(stream, monkeypatch):
    monkeypatch.setattr(changes, "_LONGEST_SECONDS", 0.3)
    assert [block for block in stream().blocks if "event: stats" in block]


@pytest.mark.parametrize("last", ["deadbeef-1", "nonsense", "{epoch}-99", "{epoch}-1x", ""])
def test_an_id_that_says_nothing_here_is_answered_with_a_reset(feed, stream, make_result, last):
    feed.note(make_result())
    told = stream(**{"Last-Event-ID": last.format(epoch=feed.epoch)}).event("reset", "change")
    assert (told["event"], told["id"]) == ("reset", f"{feed.epoch}-1")


def test_one_stream_is_left_for_logs(build_house, make_result):
    house = build_house(streams_max=2)
    house.directory.builds["order-7"] = make_result()
    open_one = Stream(house)
    refused = house.client.get("/async-jobs/changes")
    assert (refused.status_code, refused.json["code"]) == (503, "too_many_streams")
    assert refused.headers["Retry-After"]
    assert house.client.get("/async-jobs/order-7/logs").status_code == 200
    open_one.close()
    again = Stream(house)
    assert again.answer.status_code == 200
    again.close()


def test_a_stream_ends_when_the_service_stops(house, stream):
    listening = stream()
    assert listening.event("stats")
    house.creator.is_shutdown = True
    assert list(listening.blocks) == []


def test_changes_is_no_build(house):
    assert house.client.delete("/async-jobs/changes").status_code == 405
