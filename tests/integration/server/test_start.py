"""What a start loads: it is part of how soon the service is ready, and of what it holds."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import ROOT

NOT_NEEDED = ("rich", "lambda_builder.web.openapi", "opentelemetry.instrumentation")


def test_the_server_loads_nothing_that_only_others_need() -> None:
    script = (
        "import lambda_builder.server.config, lambda_builder.server.app, sys; "
        f"print([name for name in {NOT_NEEDED} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
