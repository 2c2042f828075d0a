"""Times as the Kubernetes API writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def parse_time(value: Any) -> float | None:
    """Return RFC 3339 text as seconds since the epoch; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None
