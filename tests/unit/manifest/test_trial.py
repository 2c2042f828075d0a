"""What is said at start of a field that the API does not keep."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from structlog.testing import capture_logs

from lambda_builder.manifest.template import JobTemplate
from lambda_builder.manifest.trial import TemplateTrial
from lambda_builder.settings import Settings


class Api:
    """Keeps what it is given, but for one field of the pod."""

    def __init__(self, drops: str | None) -> None:
        self._drops = drops

    def dry_run(self, manifest: dict[str, Any]) -> dict[str, Any]:
        kept = copy.deepcopy(manifest)
        if self._drops:
            kept["spec"]["template"]["spec"].pop(self._drops, None)
        return kept


@pytest.mark.parametrize(
    ("wanted", "drops", "warned"),
    [(True, "hostUsers", True), (True, None, False), (False, "hostUsers", False)],
)
def test_an_api_without_user_namespaces_is_warned_of(wanted, drops, warned):
    template = JobTemplate.from_settings(Settings(user_namespaces=wanted))
    api: Any = Api(drops)
    with capture_logs() as logs:
        TemplateTrial(template.sample, api, lambda: True).run()
    events = [each["event"] for each in logs]
    assert ("user_namespaces_dropped" in events) == warned
    assert "template_tried" in events
