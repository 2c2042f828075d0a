"""Cancel events that are kept until they are carried out: their table, one row each."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from lambda_builder.builds import CancelRequest
from lambda_builder.journal.changes import Change
from lambda_builder.journal.lookups import Lookups
from lambda_builder.journal.rows import plain


def kept(requests: Sequence[CancelRequest]) -> Change:
    """Return the change that keeps cancels over a power loss."""
    rows = [
        (plain(request.event_hash), request.to_json().encode("utf-8", "surrogatepass"))
        for request in requests
    ]
    return Change(cancels=rows, durable=True)


def over(event_hash: str) -> Change:
    """Return the change that forgets a cancel."""
    return Change(cancels_over=(plain(event_hash),))


def read(lookups: Lookups) -> list[CancelRequest]:
    """Return the cancels that are kept, oldest first; raises ``Refused``."""
    requests = []
    for (text,) in lookups.fetch("SELECT request FROM cancels ORDER BY seq", ()):
        try:
            requests.append(CancelRequest.from_json(text))
        except (ValueError, TypeError) as error:
            structlog.get_logger().error("journal_cancel_unreadable", error=str(error))
    return requests
