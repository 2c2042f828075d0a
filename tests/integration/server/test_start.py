"""What a start loads, and which requests the server's loop answers itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lambda_builder.settings import Settings
from lambda_builder.wiring import quick_requests
from tests.processes import ROOT

NOT_NEEDED = ("rich", "cryptography", "lambda_builder.web.openapi", "opentelemetry.instrumentation")


def test_the_server_loads_nothing_that_only_others_need() -> None:
    script = (
        "import lambda_builder.server.config, lambda_builder.server.app, sys; "
        f"print([name for name in {NOT_NEEDED} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("settings", "quick"),
    [({}, True), ({"journal_path": "/var/j.sqlite3"}, False), ({"ack": "created"}, False)],
)
def test_only_events_that_wait_for_nothing_are_answered_by_the_loop(settings, quick):
    is_quick = quick_requests(Settings(**settings))
    assert is_quick("POST", "/events") is is_quick("POST", "/") is quick
    for method, path in (("GET", "/"), ("POST", "/async-jobs/cancel"), ("DELETE", "/async-jobs/x")):
        assert not is_quick(method, path)
