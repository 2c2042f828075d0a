"""Cancel and retry events that are kept until they are carried out: a table, one row each."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from lambda_builder.builds import CommandRequest
from lambda_builder.journal.changes import Change
from lambda_builder.journal.lookups import Lookups
from lambda_builder.journal.rows import plain


def kept(requests: Sequence[CommandRequest]) -> Change:
    """Return the change that keeps commands over a power loss."""
    rows = [
        (plain(request.event_hash), request.to_json().encode("utf-8", "surrogatepass"))
        for request in requests
    ]
    return Change(commands=rows, durable=True)


def over(event_hash: str) -> Change:
    """Return the change that forgets a command."""
    return Change(commands_over=((plain(event_hash),),))


def read(lookups: Lookups) -> list[CommandRequest]:
    """Return the commands that are kept, oldest first; raises ``Refused``."""
    requests = []
    for (text,) in lookups.fetch("SELECT request FROM commands ORDER BY seq", ()):
        try:
            requests.append(CommandRequest.from_json(text))
        except (ValueError, TypeError) as error:
            structlog.get_logger().error("journal_command_unreadable", error=str(error))
    return requests
