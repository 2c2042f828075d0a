"""The events that ``send`` makes of a file and its options."""

from __future__ import annotations

from typing import Any

import click
import pytest

from lambda_builder.cli.reading import events_of


def read(text: str, **options: Any) -> list[dict[str, Any]]:
    return [event for _, event in events_of(text, options)]


@pytest.mark.parametrize(
    "text",
    [
        '{"parser_id": "p"}',
        '{"data": {"parser_id": "p"}, "type": "network.notifi.lambda.build.start"}',
        '[{"parser_id": "p"}]',
        '\n{"parser_id": "p"}\n\n',
        '{\n  "parser_id":\n  "p"\n}',
    ],
)
def test_an_object_is_an_event_or_the_data_of_one_and_options_say_the_rest(text: str) -> None:
    (event,) = read(text, third_party_id="t", event_id="one", priority="high", image=None)
    assert event == {
        "specversion": "1.0",
        "id": "one",
        "source": "network.notifi.t",
        "type": "network.notifi.lambda.build.start",
        "datacontenttype": "application/json",
        "data": {"parser_id": "p", "third_party_id": "t", "priority": "high"},
    }


def test_what_an_event_says_itself_wins_over_the_options() -> None:
    said = '{"id": "own", "type": "t", "source": "s", "mine": 1, "data": {"parser_id": "p"}}'
    (event,) = read(said, parser_id="other", event_id="one", source="x", event_type="y")
    assert (event["id"], event["type"], event["source"], event["mine"]) == ("own", "t", "s", 1)
    assert event["data"] == {"parser_id": "p"}


def test_upstreams_names_are_left_alone() -> None:
    said = '{"type": "io.knative.lambda.command.build.start", "data": {"name": "p"}}'
    assert read(said)[0]["data"] == {"name": "p"}


def test_events_of_a_file_are_numbered_by_their_place_among_them() -> None:
    text = '{"parser_id": "a"}\n\n{"parser_id": "b"}\n'
    assert [event["id"] for event in read(text, event_id="x")] == ["x-1", "x-2"]
    assert [line for line, _ in events_of(text, {})] == [1, 3]


def test_without_an_id_every_event_has_one_of_its_own() -> None:
    assert len({event["id"] for event in read('{"parser_id": "a"}\n' * 5)}) == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no event"),
        ("  \n", "there is no event"),
        ('{"parser_id": "a"}\n{', "line 2 is no JSON"),
        ("[1]", "event 1 is no JSON object"),
        ('{"parser_id": "a"}\n"b"', "event 2 is no JSON object"),
        ('{"type": "t", "data": "text"}', "data of event 1 is no JSON object"),
    ],
)
def test_what_is_no_event_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(click.UsageError, match=told):
        read(text)
