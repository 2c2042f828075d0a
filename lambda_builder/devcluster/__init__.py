"""An embedded Kubernetes API for development and tests.  It is not a cluster: nothing is built.

It speaks enough of the API (Jobs, Pods and their logs, Events, Leases, watch) for the official
client and for ``kubectl``, runs Jobs by a simulated kubelet, and breaks on demand.  It knows
nothing of the rest of this project and needs nothing but the standard library.
"""

from .cluster import DevCluster
from .faults import Fault
from .requestlog import Request

__all__ = ["DevCluster", "Fault", "Request"]
