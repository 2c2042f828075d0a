"""YAML that comes from people: what is wrong is told, and ends nothing."""

from __future__ import annotations

import pytest
import yaml

from lambda_builder import strict_yaml


def test_text_nested_too_deep_is_an_error_and_not_the_end_of_the_process() -> None:
    with pytest.raises((RecursionError, yaml.YAMLError)):
        strict_yaml.load("[" * 100_000, "the-file")
