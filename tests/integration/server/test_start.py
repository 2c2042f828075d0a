"""What a start loads, and which requests the server's loop answers itself."""

from __future__ import annotations

import subprocess
import sys

from lambda_builder.web.events import ShortWay
from lambda_builder.web.intake import Intake
from tests.processes import ROOT

NOT_NEEDED = (
    "rich",
    "cryptography",
    "lambda_builder.access.auth_file",
    "lambda_builder.web.openapi",
    "opentelemetry.instrumentation",
)


def test_the_server_loads_nothing_that_only_others_need() -> None:
    script = (
        "import lambda_builder.server.config, lambda_builder.server.app, sys; "
        f"print([name for name in {NOT_NEEDED} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_only_events_are_answered_by_the_loop_and_only_where_no_issuer_is_asked() -> None:
    intake = Intake(None)
    way = ShortWay(intake, lambda _environ, _start: [], in_steps=True)
    assert way.begins("POST", "/events") == way.begins("POST", "/") == intake.begin
    for method, path in (("GET", "/"), ("POST", "/async-jobs/cancel"), ("DELETE", "/async-jobs/x")):
        assert way.begins(method, path) is None
    way = ShortWay(intake, lambda _environ, _start: [], in_steps=False)
    assert way.begins("POST", "/events") is None
