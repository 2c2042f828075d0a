"""Announcements: what the log and the outgoing events say of a build's change of state."""

from __future__ import annotations

from typing import Any

import structlog

from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.errors import Refused
from lambda_builder.journal import Outbox, OutboxMessage
from lambda_builder.outgoing.announcer import Announcer


class Announcements:
    """Puts events into the outbox or returns them; thread-safe, and raises nothing.

    What cannot be told must not keep a build from being accepted or from ending.
    """

    def __init__(self, announcer: Announcer, outbox: Outbox) -> None:
        self._announcer = announcer
        self._outbox = outbox

    def accepted(self, result: BuildResult, *, soon: bool = False) -> None:
        """Tell that an event was accepted; ``soon`` as in ``Outbox.put``."""
        try:
            messages = self._announcer.accepted(result)
        except Exception:  # noqa: BLE001
            _log_not_made(result)
            return
        if messages:
            try:
                self._outbox.put(messages, soon=soon)
            except Refused as error:  # the build is recorded, and told of by the next start
                structlog.get_logger().warning(
                    "event_not_kept", job_name=result.request.job_name, error=error.detail
                )

    def ended(self, result: BuildResult) -> list[OutboxMessage]:
        """Return what tells of the build's end, to be recorded together with it."""
        try:
            return self._announcer.ended(result)
        except Exception:  # noqa: BLE001
            _log_not_made(result)
            return []


def _log_not_made(result: BuildResult) -> None:
    structlog.get_logger().exception(
        "event_not_made", state=result.state.value, **result.request.log_fields()
    )


def log_change(before: BuildResult, result: BuildResult) -> None:
    """Log a change that is worth a line: that a build's digest was found is not."""
    if (before.state, before.error) != (result.state, result.error):
        log_state(result)


def log_state(result: BuildResult, **extra: Any) -> None:
    """Log the state that a build is in from now on."""
    fields: dict[str, Any] = {
        "state": result.state.value,
        **result.request.log_fields(),
        "attempts": result.attempts,
        **extra,
    }
    if result.error:
        fields["error_code"] = result.error.code
        fields["error"] = result.error.message
    log = structlog.get_logger()
    level = log.error if result.state is BuildState.DEAD else log.info
    level("build_state", **fields)
