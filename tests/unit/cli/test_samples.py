"""Samples of events are made by the code that reads and sends them."""

from __future__ import annotations

import json
from typing import get_args

from lambda_builder.cli.samples import samples
from lambda_builder.events.reader import EventReader
from lambda_builder.outgoing.messages import BuildNews, is_news, news_type
from lambda_builder.settings import BUILD_EVENT_TYPES, COMMAND_EVENT_TYPES


def test_there_is_a_sample_of_each_type() -> None:
    ways = {name: way for name, (way, _) in samples().items()}
    incoming = {*BUILD_EVENT_TYPES, *COMMAND_EVENT_TYPES}
    kinds = (*get_args(BuildNews), "rejected")
    outgoing = {news_type(kind, each) for kind in kinds for each in BUILD_EVENT_TYPES}
    assert {name for name, way in ways.items() if way == "in"} == incoming
    assert {name for name, way in ways.items() if way == "out"} == outgoing | {"dead-letter"}
    assert all(is_news(name) for name in outgoing)


def test_samples_in_are_valid_also_where_that_is_taken_strictly() -> None:
    reader = EventReader(strict=True, build_event_types=BUILD_EVENT_TYPES)
    headers = {"Content-Type": "application/cloudevents+json"}
    for way, event in samples().values():
        if way == "in":
            assert reader.read(headers, json.dumps(event).encode(), now=0.0).events


def test_samples_are_the_same_each_time() -> None:
    assert samples() == samples()


def test_a_sample_out_is_whole_and_its_times_are_in_order() -> None:
    for _, event in samples().values():
        assert event["specversion"] == "1.0"
        assert event["id"]
        data = event["data"]
        times = [data[n] for n in ("accepted_at", "created_at", "finished_at") if data.get(n)]
        assert times == sorted(times)
