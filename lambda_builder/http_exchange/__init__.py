"""HTTP exchanges with the Kubernetes API and the sink: requests to an origin, and their answers."""

from lambda_builder.http_exchange.answers import Answer, OpenAnswer
from lambda_builder.http_exchange.origin import Origin, Waits

__all__ = ["Answer", "OpenAnswer", "Origin", "Waits"]
