"""A service that answers as a test has written it down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scripted import Scripted


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    service = Scripted()
    yield service
    service.close()
