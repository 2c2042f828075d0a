"""What is shown of one build at length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lambda_builder.steering.inspection import Inspection


@pytest.mark.parametrize(
    ("uid", "is_shown"), [("its-own", True), ("another", False), (None, False)]
)
def test_a_job_of_the_same_name_is_shown_only_where_it_is_the_builds_own(
    uid: str | None, is_shown: bool
) -> None:
    job = {"metadata": {"uid": "its-own"}}
    jobs: Any = SimpleNamespace(get_job=lambda name: job)
    build: Any = SimpleNamespace(request=SimpleNamespace(job_name="job"), job_uid=uid)
    inspection = Inspection(cast(Any, None), jobs, cast(Any, None))
    assert inspection.job(build) == (job if is_shown else None)
