"""Whether a service is open to others, of which its start warns."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_builder.server.app import is_open_to_others
from lambda_builder.settings import Settings


@pytest.mark.parametrize(
    ("host", "is_open"), [("0.0.0.0", True), ("127.0.0.1", False), ("::1", False)]
)
def test_a_service_that_asks_nobody_is_open_beyond_loopback(host, is_open):
    assert is_open_to_others(Settings(host=host)) is is_open
    assert not is_open_to_others(Settings(host=host, auth_file=Path("auth.yaml")))
