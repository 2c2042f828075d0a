"""A client of the service's HTTP API: sends events, reads builds and steers them.

    with Client("http://localhost:8080") as client:
        accepted = client.send(build_event("parser-1", third_party_id="customer-1"))
        build = client.wait(accepted.job_name, timeout=600)

Nothing here knows the service but by HTTP. What goes wrong is a ``ClientError``.
"""

from lambda_builder.client.client import Client
from lambda_builder.client.errors import (
    ClientError,
    NotTheService,
    Problem,
    StillGoing,
    Unreachable,
)
from lambda_builder.client.events import build_event
from lambda_builder.client.values import (
    Accepted,
    Build,
    BuildPage,
    BulkOutcome,
    BulkRefusal,
    Change,
    Filters,
    Reset,
    Stats,
)

__all__ = [
    "Accepted",
    "Build",
    "BuildPage",
    "BulkOutcome",
    "BulkRefusal",
    "Change",
    "Client",
    "ClientError",
    "Filters",
    "NotTheService",
    "Problem",
    "Reset",
    "Stats",
    "StillGoing",
    "Unreachable",
    "build_event",
]
