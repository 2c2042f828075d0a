"""An embedded Kubernetes API for development and tests. It is not a cluster: nothing is built.

It speaks enough of the API (Jobs, Pods with their logs and evictions, Events, Leases,
ResourceQuotas, watch) for the official client and for ``kubectl``, runs Jobs by a simulated
kubelet, and breaks on demand. It knows nothing of the rest of this project and needs nothing but
the standard library.

Where it differs from a real API server, beyond what it leaves out:

* A Job has one pod at a time; ``completions``, ``parallelism`` and indexes are kept but not acted
  on. A container that fails gives a new pod whatever the restart policy, and without the real
  one's growing pauses. A pod that is being deleted is replaced once it is gone.
* Steps the real controllers take one by one are one here: a Job's last status comes in a single
  change, and the pod of a Job that is suspended or past its deadline vanishes at once.
* Of what a ResourceQuota can bound, ``count/jobs.batch``, ``count/pods`` and ``pods`` are counted;
  scopes are kept but not acted on. Usage is never behind, and never too high for creations that
  failed after they were counted. Webhooks and disruption budgets are faults, not objects.
* Pages of a list show what is there when each is asked for, not a snapshot; all tell the revision
  of the first, so a watch from there misses nothing.
* Conditions, quantities and names are validated as far as Jobs of one container need it; rare
  volume plugins are not checked. There is no RBAC.
* JSON only: no protobuf, no server-side apply, no JSON patch. Strategic merge patches are taken
  as merge patches: lists are replaced.
* The history of changes is bounded by number, the events by 20,000, not by time.
"""

from lambda_builder.devcluster.cluster import DevCluster
from lambda_builder.devcluster.faults import Fault
from lambda_builder.devcluster.requestlog import Request

__all__ = ["DevCluster", "Fault", "Request"]
