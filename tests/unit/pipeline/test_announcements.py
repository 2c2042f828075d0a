"""What cannot be told keeps no build from being accepted or from ending."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from lambda_builder.builds import BuildState
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import MemoryOutbox
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.announcements import Announcements
from tests.journals import make_result


class Closed(MemoryOutbox):
    """Takes no messages."""

    def put(self, *_messages: Any, **_options: Any) -> None:
        raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "journal is closed")


class Broken(Announcer):
    """Makes no messages."""

    def news(self, *_args: Any, **_options: Any) -> Any:
        raise ValueError("cannot be made")


@pytest.mark.parametrize(
    ("kind", "event", "error"),
    [(Announcer, "event_not_kept", "journal is closed"), (Broken, "event_not_made", None)],
)
def test_an_acceptance_that_cannot_be_told_is_logged(
    kind: type[Announcer], event: str, error: str | None
) -> None:
    announcer = kind(source="s", overrides={}, sink=True, dead_letters=False)
    with capture_logs() as logs:
        Announcements(announcer, Closed()).accepted(make_result(1))
    (line,) = logs
    assert (line["event"], line.get("error")) == (event, error)
    assert line["job_name"] == make_result(1).request.job_name


def test_an_end_that_cannot_be_told_is_logged_and_has_no_messages() -> None:
    announcer = Broken(source="s", overrides={}, sink=True, dead_letters=False)
    with capture_logs() as logs:
        assert Announcements(announcer, Closed()).ended(make_result(1, BuildState.DEAD)) == []
    assert [(line["event"], line["state"]) for line in logs] == [("event_not_made", "dead")]
