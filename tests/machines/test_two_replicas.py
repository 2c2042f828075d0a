"""Two whole replicas with a journal each, one cluster, one sink, and leaders that come and go.

Real threads and HTTP, so an example takes seconds. It is judged by what must hold at its end.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.kube.lease import LEASE_NAME
from lambda_builder.settings import Settings
from tests.http_sink import HttpSink
from tests.integration.service.conftest import Running
from tests.silence import silence
from tests.waiting import wait_until

LEASES = "/apis/coordination.k8s.io/v1/namespaces/knative-lambda/leases"
TOLD_SECONDS = 30.0
replicas = st.integers(0, 1)
events = st.integers(0, 4)


class TwoReplicas(RuleBasedStateMachine):
    """Each rule is one thing that may happen; ``teardown`` waits for the end of all builds."""

    def __init__(self) -> None:
        super().__init__()
        self.end = contextlib.ExitStack()
        self.end.enter_context(silence())
        self.directory = Path(tempfile.mkdtemp())
        self.end.callback(shutil.rmtree, self.directory)
        self.cluster = self.end.enter_context(DevCluster(run_seconds=0.05, pending_seconds=0.01))
        self.sink = HttpSink()
        self.end.callback(self.sink.close)
        environment = self.end.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("KUBECONFIG", str(self.directory / "kubeconfig"))
        self.cluster.write_kubeconfig(self.directory / "kubeconfig")
        self.names: dict[int, str] = {}
        """Names of the Jobs of all events that were accepted."""
        self.running = [self._start(0), self._start(1)]
        self.end.callback(lambda: [each.service.shutdown() for each in self.running])

    def _start(self, which: int) -> Running:
        chosen = Settings(
            journal_path=self.directory / f"{which}.db",
            sink_url=self.sink.url,
            retry_base_seconds=0.02,
            retry_max_seconds=0.1,
            max_retries=20,
            kube_api_timeout_seconds=2,
            drain_seconds=2,
        )
        running = Running(chosen)
        running.service.start()
        return running

    @initialize()
    def begin(self) -> None:
        self.deliver(0, 0)
        self.deliver(1, 1)

    # -- what happens --------------------------------------------------------------------------

    @rule(number=events, which=replicas)
    def deliver(self, number: int, which: int) -> None:
        answer = self.running[which].post(number)
        assert answer.status_code == 200, answer.text
        name = answer.json["job_name"]
        assert self.names.setdefault(number, name) == name
        found = self.running[which].http.get(f"/async-jobs/{name}")
        assert found.status_code == 200

    @rule(number=events)
    def deliver_to_both(self, number: int) -> None:
        self.deliver(number, 0)
        self.deliver(number, 1)

    @rule(which=replicas)
    def stop_and_start(self, which: int) -> None:
        """The lease is given up, and the other one leads, if this was the leader."""
        self.running[which].service.shutdown()
        self.running[which] = self._start(which)

    @rule()
    def a_stranger_takes_the_lease(self) -> None:
        """Whoever leads finds out at the next renewal; the stranger does not come back."""
        client = self.running[0].service._client
        with contextlib.suppress(Exception):
            lease = client.request("test", "GET", f"{LEASES}/{LEASE_NAME}")
            lease["spec"].update(holderIdentity="a stranger", leaseDurationSeconds=1)
            client.request("test", "PUT", f"{LEASES}/{LEASE_NAME}", body=lease)

    @rule(kind=st.sampled_from(["cut", "cut_after"]))
    def answers_get_lost(self, kind: str) -> None:
        self.cluster.add_fault(Fault(kind, verb="create", resource="jobs", times=1))

    @rule()
    def watches_end(self) -> None:
        self.cluster.add_fault(Fault("expire_watch", resource="jobs", times=2))

    # -- the end -------------------------------------------------------------------------------

    def teardown(self) -> None:
        with self.end:
            self.cluster.clear_faults()
            for running in self.running:
                wait_until(functools.partial(self._all_ended, running), "the builds to end")
                running.stats()
            wait_until(self._all_told, lambda: f"the news: {self._told()}", TOLD_SECONDS)
            jobs = [job["metadata"]["name"] for job in self.cluster.jobs()]
            assert sorted(jobs) == sorted(self.names.values()), "one event, one Job"
            for (name, kind), ids in self._told().items():
                assert len(ids) == 1, f"{kind} of {name} was told under several ids: {ids}"

    def _all_ended(self, running: Running) -> bool:
        states = [running.http.get(f"/async-jobs/{name}").json for name in self.names.values()]
        return all(found.get("state") == "succeeded" for found in states)

    def _all_told(self) -> bool:
        told = self._told()
        return all((name, "complete") in told for name in self.names.values())

    def _told(self) -> dict[tuple[str, str], set[str]]:
        told: dict[tuple[str, str], set[str]] = defaultdict(set)
        for headers, _ in [*self.sink.events]:
            kind = headers["ce-type"].rpartition(".")[2]
            told[headers["ce-subject"], kind].add(headers["ce-id"])
        return told


class TwoReplicasForLong(TwoReplicas):
    """The same, in the soak."""


TestTwoReplicas = TwoReplicas.TestCase
TestTwoReplicas.settings = settings(
    max_examples=3, stateful_step_count=8, derandomize=True, print_blob=True
)
TestTwoReplicasForLong = pytest.mark.soak(TwoReplicasForLong.TestCase)
TestTwoReplicasForLong.settings = settings(
    max_examples=100, stateful_step_count=15, print_blob=True
)
