"""HTTP in front of the service: thin Flask blueprints that parse, call and answer.

Nothing outside this package and the wiring knows Flask; nothing in it knows Kubernetes.
"""

from lambda_builder.web.app import build_web
from lambda_builder.web.services import Services

__all__ = ["Services", "build_web"]
