"""The client's values have the fields of the service's own models."""

from __future__ import annotations

from dataclasses import fields

import pytest
from pydantic import BaseModel

from lambda_builder.client import values
from lambda_builder.client.stream import Message, messages
from lambda_builder.settings import Settings
from lambda_builder.web import models
from lambda_builder.web.openapi import document

LEFT_OUT = {"workers_without_room", "retried_by_reason", "rejected_by_code"}
"""Of the stats what is for the metrics; ``raw`` has them."""


@pytest.mark.parametrize(
    ("value", "model"),
    [
        (values.Accepted, models.Accepted),
        (values.Build, models.Build),
        (values.BuildFailure, models.BuildFailure),
        (values.EventReference, models.EventReference),
        (values.BulkRefusal, models.BulkRefusal),
        (values.BuildPage, models.BuildPage),
        (values.BulkOutcome, models.BulkAnswer),
        (values.Stats, models.Stats),
    ],
)
def test_values_and_models_have_the_same_fields(value: type, model: type[BaseModel]) -> None:
    assert {each.name for each in fields(value)} - {"raw"} == set(model.model_fields) - LEFT_OUT


def test_filters_are_parameters_that_the_api_describes() -> None:
    listing = document(Settings())["paths"]["/async-jobs"]["get"]
    described = {each["name"] for each in listing["parameters"]}
    assert set(values.Filters.__annotations__) <= described


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_of_a_stream_are_whole_however_it_comes(size: int) -> None:
    text = (
        "retry: 5\n: hi\nid: 1\nevent: a\ndata: x: é\ndata:y\r\n\r\ndata\n\n\nevent: b\ndata: cut"
    )
    raw = text.encode()
    chunks = [raw[i : i + size] for i in range(0, len(raw), size)]
    assert list(messages(chunks)) == [Message("a", "x: é\ny", "1"), Message("message", "", "1")]
