"""Every constructor call of the service, and who owns what.

``base`` has what nearly everything is made of, ``watched`` what follows Jobs, ``pipeline`` the way
from an event to its Job, ``steering`` what users steer builds by, ``app`` the whole.
"""

from lambda_builder.wiring.app import PRECEDENCE, SERVICE, create_app

__all__ = ["PRECEDENCE", "SERVICE", "create_app"]
