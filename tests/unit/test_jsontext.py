"""JSON is the same whichever of two libraries writes it."""

from __future__ import annotations

import json
import sys
from enum import StrEnum

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambda_builder.jsontext import dump_ascii, dump_text, dump_utf8

TEXT = st.text(st.characters(codec=None))
"""Lone surrogates included."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)  # fmt: skip
FEW = settings(max_examples=50)


class Colour(StrEnum):
    RED = "red"


@FEW
@given(VALUES)
@example({"a": "\ud800"})
@example([2**64, -(2**63) - 1])
@example("\x7f\x80\u2028")
def test_what_is_written_reads_the_same_by_the_standard_library(value):
    assert json.loads(dump_ascii(value)) == value
    assert dump_ascii(value).isascii()
    assert json.loads(dump_text(value)) == value
    assert dump_utf8(value) == dump_text(value).encode("utf-8", "surrogatepass")
    assert "\n" not in dump_text(value)


def test_what_json_does_not_know_is_stood_in_for():
    assert dump_ascii({"a": object}, default=lambda _: "é") == '{"a":"\\u00e9"}'
    assert dump_ascii([2**70, object], default=lambda _: 1) == f"[{2**70},1]"
    assert dump_ascii({Colour.RED: Colour.RED, 1: "x"}) == '{"red":"red","1":"x"}'
    with pytest.raises(TypeError):
        dump_ascii(object())


def test_nesting_is_no_reason_to_fail_where_the_standard_library_does_not():
    deep: list = []
    for _ in range(min(300, sys.getrecursionlimit() // 3)):
        deep = [deep]
    assert json.loads(dump_ascii(deep)) == json.loads(dump_text(deep)) == deep
