"""Events to send, in structured form."""

from __future__ import annotations

import uuid
from typing import Any

from lambda_builder.builds import SOURCE_PREFIX, UNKNOWN_SOURCE

BUILD_TYPE = "network.notifi.lambda.build.start"


def build_event(
    parser_id: str,
    *,
    third_party_id: str | None = None,
    event_id: str | None = None,
    source: str | None = None,
    event_type: str = BUILD_TYPE,
    **data: Any,
) -> dict[str, Any]:
    """Return the CloudEvent, in structured form, that asks for a build.

    ``event_id`` is a fresh one unless given, ``source`` is that of the third party; ``data`` are
    the other fields of docs/http-api.rst, of which None counts as absent.
    """
    fields = {"parser_id": parser_id, "third_party_id": third_party_id, **data}
    return {
        "specversion": "1.0",
        "id": event_id or str(uuid.uuid4()),
        "source": source or f"{SOURCE_PREFIX}{third_party_id or UNKNOWN_SOURCE}",
        "type": event_type,
        "datacontenttype": "application/json",
        "data": {name: value for name, value in fields.items() if value is not None},
    }
