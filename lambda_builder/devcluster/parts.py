"""What a cluster is made of, and how it is put together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from lambda_builder.devcluster.admin import Admin, Control
from lambda_builder.devcluster.admission import Admission
from lambda_builder.devcluster.controller import Kubelet
from lambda_builder.devcluster.deletion import Deletion
from lambda_builder.devcluster.dispatch import Dispatcher
from lambda_builder.devcluster.eviction import Evictions
from lambda_builder.devcluster.faults import Fault, Faults
from lambda_builder.devcluster.jobs import ttl_left
from lambda_builder.devcluster.ledger import Ledger
from lambda_builder.devcluster.listener import Listener
from lambda_builder.devcluster.listing import Lists
from lambda_builder.devcluster.logstream import LogStreams
from lambda_builder.devcluster.objects import JOBS, NAMESPACES, RESOURCE_QUOTAS, Json, Obj
from lambda_builder.devcluster.podlogs import PodLogs
from lambda_builder.devcluster.policies import Policies
from lambda_builder.devcluster.quotas import Quotas
from lambda_builder.devcluster.requestlog import RequestLog
from lambda_builder.devcluster.rest import Rest
from lambda_builder.devcluster.store import Store
from lambda_builder.devcluster.streams import Streams
from lambda_builder.devcluster.tables import Tables
from lambda_builder.devcluster.timers import Timers
from lambda_builder.devcluster.watching import Watches


class Parts:
    """The parts of one cluster. After construction on the server's thread only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        namespaces: Iterable[str],
        *,
        run_seconds: float,
        pending_seconds: float,
        init_seconds: float,
        job_quota: int | None,
        token: str | None,
        deletion_seconds: float,
        bookmark_seconds: float,
        history: int,
    ) -> None:
        self.store = Store(history)
        self.log = RequestLog()
        self.faults = Faults()
        self.kubelet_timers = Timers(loop)
        self._other_timers = Timers(loop)
        self.pod_logs = PodLogs()
        quotas = Quotas(self.store)
        policies = Policies(self.faults, quotas)
        self.kubelet = Kubelet(
            Ledger(self.store),
            self.kubelet_timers,
            self.faults,
            policies,
            self.pod_logs,
            self._expire_job,
            run_seconds=run_seconds,
            pending_seconds=pending_seconds,
            init_seconds=init_seconds,
        )
        self.deletion = Deletion(
            self.store, self._other_timers, self.faults, deletion_seconds, self.kubelet
        )
        admission = Admission(self.store, self.kubelet, policies, quotas)
        names = ["default", *namespaces]
        for name in dict.fromkeys(names):
            self.store.put(admission.new(NAMESPACES, {"metadata": {"name": name}}, ""))
            if job_quota is not None:
                hard = {"count/jobs.batch": str(job_quota)}
                quota: Json = {"metadata": {"name": "devcluster"}, "spec": {"hard": hard}}
                admission.created(self.store.put(admission.new(RESOURCE_QUOTAS, quota, name)))
        control = Control(
            self.faults.describe,
            self.add_fault,
            self.clear_faults,
            self._outage,
            self.kubelet.finish,
        )
        admin = Admin(self.store, self.log, control, names[min(1, len(names) - 1)])
        rest = Rest(
            Lists(self.store, self.faults),
            self.store,
            admission,
            self.deletion,
            Evictions(self.store, self.faults, self.deletion),
        )
        self.watches = Watches(loop, self.store, self.faults, bookmark_seconds)
        streams = Streams(rest, self.watches, LogStreams(loop, self.pod_logs), Tables())
        self.dispatcher = Dispatcher(
            loop, rest, streams.answer, self.faults, self.log, admin, token
        )
        self.listener = Listener(loop, host, self.dispatcher.handle)
        self._loop = loop

    def add_fault(self, fault: Fault) -> None:
        """Put a fault in force, on open watches too."""
        self.faults.add(fault)
        self.watches.strike()

    def clear_faults(self) -> None:
        """Take all faults back and cut the requests that hang."""
        self.faults.clear()
        self.dispatcher.release()

    async def end(self) -> None:
        """Cut every connection; nothing happens by itself from now on."""
        self.kubelet_timers.cancel()
        self._other_timers.cancel()
        await self.listener.end()

    def _outage(self, seconds: float) -> None:
        # Not before the answer to the request that asks for it is on its way.
        self._loop.call_later(0.01, self.listener.close, seconds)

    def _expire_job(self, seconds: float, job: Obj) -> None:
        due = partial(self._delete_expired, job.namespace, job.name, job.uid)
        self._other_timers.after(seconds, due)

    def _delete_expired(self, namespace: str, name: str, uid: str) -> None:
        """Delete a finished Job unless its TTL has been changed, as its controller does."""
        job = self.store.of(JOBS).get(namespace, name)
        if job is None or job.uid != uid or job.deleting:
            return
        left = ttl_left(job)
        if left is not None and left > 0:
            self._expire_job(left, job)
        elif left is not None:
            self.deletion.delete(job, {"propagationPolicy": "Foreground"})
