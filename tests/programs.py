"""Programs that some tests need and pip cannot bring.

Without one of them its tests are skipped and the run's last lines say how to get it; with
``CI=true`` they fail, so that nothing goes untested unseen.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable

import pytest

HOW_TO_GET = {
    "bash": "apt-get install bash",
    "cc": "apt-get install gcc libc6-dev",
    "chromium": "apt-get install chromium",
    "curl": "apt-get install curl",
    "fish": "apt-get install fish",
    "git": "apt-get install git",
    "kubectl": "apt-get install kubernetes-client",
    "make": "apt-get install make",
    "pgbouncer": "apt-get install pgbouncer",
    "promtool": "apt-get install prometheus",
    "strace": "apt-get install strace",
    "zsh": "apt-get install zsh",
}


def needs(program: str) -> pytest.MarkDecorator:
    """Mark a test that runs ``program``, a key of ``HOW_TO_GET``."""
    assert program in HOW_TO_GET
    return pytest.mark.needs(program)


def require(marks: Iterable[pytest.Mark]) -> None:
    """Skip or fail the test with these marks when a program is not there."""
    for mark in marks:
        (program,) = mark.args
        if shutil.which(program) is None:
            absent = f"{program} is not installed: {HOW_TO_GET[program]}"
            if os.environ.get("CI") == "true":
                pytest.fail(absent, pytrace=False)
            pytest.skip(absent)


def summary(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """Return a line for each reason for which tests were skipped."""
    reasons = (r.longrepr[2] if isinstance(r.longrepr, tuple) else r.longreprtext for r in skipped)
    counted = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    return [
        f"{number} {'test was' if number == 1 else 'tests were'} skipped: {reason}"
        for reason, number in counted.items()
    ]
