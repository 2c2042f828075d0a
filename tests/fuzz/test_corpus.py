"""What a fuzzer found, or started from, breaks nothing, and neither do some more inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_a_fuzzer_found_breaks_what_is_promised(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:  # noqa: BLE001 - told with the input that caused it
            pytest.fail(f"{path.name}: {error!r}")
    TARGETS[name](b"")


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=16)


@settings(max_examples=60, deadline=None, database=None)
@given(texts, st.binary(max_size=300))
def test_nothing_else_does_either(parts: list[str], raw: bytes) -> None:
    for name, target in TARGETS.items():
        target(raw)
        if name != "http":
            target("\x00".join(parts).encode())
