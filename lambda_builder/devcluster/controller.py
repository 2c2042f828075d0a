"""The simulated Job controller and kubelet: takes Jobs from creation to their end.

Every step is a call at a due time on one heap, so a Job that runs costs no thread.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial

from lambda_builder.devcluster import pods
from lambda_builder.devcluster.faults import Fault, Faults
from lambda_builder.devcluster.jobs import ttl_left
from lambda_builder.devcluster.ledger import Ledger
from lambda_builder.devcluster.names import generate_name
from lambda_builder.devcluster.objects import JOBS, PODS, Obj
from lambda_builder.devcluster.podlogs import PodLogs
from lambda_builder.devcluster.policies import Policies
from lambda_builder.devcluster.runs import Run, condition, spec_of
from lambda_builder.devcluster.statuses import ApiError, forbidden
from lambda_builder.devcluster.timers import Timers

_TERMINATED = 143  # the exit code of a container that SIGTERM ended
_KILLED = 137  # and of one that SIGKILL did
_OVER_ITS_LIMIT = "Pod ephemeral local storage usage exceeds the total limit of containers 10Gi. "
_RECHECK_SECONDS = 0.25  # how soon a refused pod or a failed pull is tried again


class Kubelet:
    """Runs Jobs. On the server's thread only.

    ``pending_seconds`` from a pod's creation to its start, ``init_seconds`` for its init containers
    together, ``run_seconds`` from there to its end.
    """

    def __init__(
        self,
        ledger: Ledger,
        timers: Timers,
        faults: Faults,
        policies: Policies,
        logs: PodLogs,
        expire: Callable[[float, Obj], None],
        *,
        run_seconds: float,
        pending_seconds: float,
        init_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._timers = timers
        self._faults = faults
        self._policies = policies
        self._logs = logs
        self._expire = expire
        self._run_seconds = run_seconds
        self._pending_seconds = pending_seconds
        self._init_seconds = init_seconds
        self._runs: dict[str, Run] = {}

    # -- what the API tells ---------------------------------------------------------------------

    def created(self, job: Obj) -> None:
        """Begin to run a new Job, unless it is suspended."""
        run = self._runs[job.key] = Run(job)
        if run.suspended:
            self._suspend(run)
        else:
            self._later(run, 0.0, self._begin)

    def updated(self, job: Obj) -> None:
        """Follow a change of a Job: suspended, resumed, or to go sooner after its end."""
        run = self._runs.get(job.key)
        if run is None:
            left = ttl_left(job)
            if left is not None:
                self._expire(left, job)
            return
        was_suspended = run.suspended
        run.read(spec_of(job))
        if run.suspended and not was_suspended:
            self._suspend(run)
        elif was_suspended and not run.suspended:
            self._later(run, 0.0, self._begin)

    def terminating(self, pod: Obj) -> None:
        """A pod is told to end, and will be gone soon."""
        run = self._run_of(pod)
        if run is not None:
            run.next_step()
            self._ledger.write(run, run.status(terminating=1))

    def removed(self, obj: Obj) -> None:
        """A Job is on its way out, or a pod is gone: the Job's pod counts as failed then."""
        if obj.resource is PODS:
            self._logs.removed(obj.key)
            run = self._run_of(obj)
            if run is not None:
                run.failed += 1
                exit_code = 0 if run.pod_started is None else _TERMINATED
                self._after_failure(run, exit_code, disrupted=b'"DisruptionTarget"' in obj.status)
        elif obj.resource is JOBS:
            run = self._runs.get(obj.key)
            if run is not None and run.uid == obj.uid:
                run.next_step()
                del self._runs[obj.key]

    def finish(self, key: str, succeeded: bool, exit_code: int, reason: str) -> bool:
        """End a Job by hand, whatever it is doing; False where it is not under way."""
        run = self._runs.get(key)
        if run is None:
            return False
        if run.started is None:
            run.started = time.time()
        if run.pod is None:
            self._create_pod(run, generate_name(f"{run.name}-"))
        if run.pod_started is None:
            self._start_pod(run, self._run_seconds)
        if reason == "DeadlineExceeded" and not succeeded:
            self._deadline(run)
        elif succeeded:
            self._end_pod(run, 0, "Completed")
            self._complete(run)
        else:
            self._end_pod(run, exit_code or 1, reason)
            self._fail(run, "BackoffLimitExceeded")
        return True

    def _run_of(self, pod: Obj) -> Run | None:
        run = self._runs.get(f"{pod.namespace}/{pod.labels.get('job-name', '')}")
        return run if run is not None and run.pod == pod.name else None

    # -- the steps ------------------------------------------------------------------------------

    def _later(self, run: Run, seconds: float, step: Callable[[Run], None]) -> None:
        self._timers.after(seconds, partial(self._take_step, run, run.next_step(), step))

    def _take_step(self, run: Run, number: int, step: Callable[[Run], None]) -> None:
        if run.step == number:
            step(run)

    def _begin(self, run: Run) -> None:
        if run.started is None:
            run.started = time.time()
            if run.deadline is not None:
                # By name: the run itself must not live on as long as its deadline's timer.
                check = partial(self._check_deadline, run.key, run.uid, run.started)
                self._timers.after(run.deadline, check)
        name = generate_name(f"{run.name}-")
        try:
            self._admit_pod(run, name)
        except ApiError as refusal:
            self._refuse_pod(run, refusal.message)
            return
        self._create_pod(run, name)
        self._later(run, self._pending_seconds + self._extra("slow_pods", run), self._pull)

    def _extra(self, kind: str, run: Run) -> float:
        """Return the seconds by which a step of a Job is slower."""
        slow = self._faults.for_job(kind, run.name)
        return (slow.fault.seconds or 0.0) if slow else 0.0

    def _admit_pod(self, run: Run, name: str) -> None:
        if not run.held():
            run.held_by = self._faults.for_job("refuse_pods", run.name)
        if run.held_by is not None:
            refusal = forbidden(PODS, name, "refused by devcluster")
            refusal.message = run.held_by.fault.message or refusal.message
            raise refusal
        self._policies.check("create", PODS, run.namespace, name)

    def _refuse_pod(self, run: Run, message: str) -> None:
        if run.event is not None:
            self._ledger.again(run.event)
        else:
            job = self._ledger.write(run, run.status())
            words = f"Error creating: {message}"
            run.event = self._ledger.record(job, "Warning", "FailedCreate", words)
        self._later(run, _RECHECK_SECONDS, self._begin)

    def _create_pod(self, run: Run, name: str) -> None:
        run.held_by = run.event = None
        run.pod, run.pod_started = name, None
        job = self._ledger.write(run, run.status(active=1))
        self._ledger.add_pod(pods.new_pod(job, run.pod, run.containers))
        self._ledger.record(job, "Normal", "SuccessfulCreate", f"Created pod: {run.pod}")

    def _pull(self, run: Run) -> None:
        if not run.held():
            run.held_by = self._faults.for_job("image_pull", run.name)
        if run.held_by is None:
            self._initialize(run, 0)
            return
        image = run.containers.main[0][1]
        words = run.held_by.fault.message or f'failed to pull image "{image}": not found'
        if run.event is None:
            pod = self._ledger.write_pod(
                run, "Pending", pods.waiting(run.containers, "ErrImagePull", words)
            )
            text = f'Failed to pull image "{image}": {words}'
            run.event = self._ledger.record(pod, "Warning", "Failed", text, "kubelet")
        else:
            words = f'Back-off pulling image "{image}": ErrImagePull: {words}'
            pod = self._ledger.write_pod(
                run, "Pending", pods.waiting(run.containers, "ImagePullBackOff", words)
            )
            if run.event.fields and run.event.fields["reason"] == "BackOff":
                self._ledger.again(run.event)
            else:
                text = f'Back-off pulling image "{image}"'
                run.event = self._ledger.record(pod, "Normal", "BackOff", text, "kubelet")
        self._later(run, _RECHECK_SECONDS, self._pull)

    def _initialize(self, run: Run, index: int) -> None:
        """Run the init containers from ``index`` on, and then the others."""
        run.held_by = run.event = None
        if index == len(run.containers.init):
            seconds = self._run_seconds + self._extra("slow_runs", run)
            self._start_pod(run, seconds)
            self._later(run, seconds, self._exit)
            return
        seconds = self._init_seconds / len(run.containers.init)
        self._log(run, run.containers.init[index][0], seconds)
        if not seconds:
            self._initialized(run, index, time.time())
            return
        started = time.time()
        status = pods.initializing(run.containers, index, started, None)
        self._ledger.write_pod(run, "Pending", status)
        self._later(run, seconds, partial(self._initialized, index=index, started=started))

    def _initialized(self, run: Run, index: int, started: float) -> None:
        name = run.containers.init[index][0]
        failing = self._faults.for_job("fail", run.name, name)
        if failing is None:
            self._logs.ended(run.pod_key, name, 0)
            self._initialize(run, index + 1)
            return
        exit_code, reason = _how(failing.fault)
        ended = pods.ended_state(started, time.time(), exit_code, reason)
        status = pods.initializing(run.containers, index, started, ended)
        self._ledger.write_pod(run, "Failed", status)
        self._logs.ended(run.pod_key, name, exit_code, failing.fault.message or "")
        run.failed += 1
        self._after_failure(run, exit_code, disrupted=False)

    def _log(self, run: Run, container: str, seconds: float) -> None:
        self._logs.started(run.pod_key, run.name, container, run.containers.names, seconds)

    def _start_pod(self, run: Run, seconds: float) -> None:
        run.held_by = run.event = None
        run.pod_started = time.time()
        self._ledger.write_pod(run, "Running", pods.running(run.containers, run.pod_started))
        for name, _ in run.containers.init:
            if self._logs.get(run.pod_key, name) is None:
                self._log(run, name, 0)
            self._logs.ended(run.pod_key, name, 0)
        for name, _ in run.containers.main:
            self._log(run, name, seconds)
        self._ledger.write(run, run.status(active=1, ready=1))

    def _exit(self, run: Run) -> None:
        evicted = self._faults.for_job("evict", run.name)
        if evicted is not None:
            self._evict(run, evicted.fault)
            return
        failing = self._faults.for_job("fail", run.name)
        if failing is None:
            self._end_pod(run, 0, "Completed")
            self._complete(run)
            return
        exit_code, reason = _how(failing.fault)
        self._end_pod(run, exit_code, reason, last_words=failing.fault.message or "")
        self._after_failure(run, exit_code, disrupted=False)

    def _evict(self, run: Run, fault: Fault) -> None:
        """End the pod as the kubelet does that needs its room, or whose limits it passed."""
        eviction = pods.Eviction(fault.message or _OVER_ITS_LIMIT, fault.reason)
        self._end_pod(run, _KILLED, "Error", eviction=eviction)
        self._after_failure(run, _KILLED, disrupted=fault.reason is not None)

    def _after_failure(self, run: Run, exit_code: int, *, disrupted: bool) -> None:
        """Give the Job another pod, or up."""
        verdict = run.verdict(exit_code, disrupted=disrupted)
        if verdict == "FailJob":
            self._fail(run, "PodFailurePolicy", exit_code)
        elif verdict != "Ignore" and run.failed > run.backoff_limit:
            self._fail(run, "BackoffLimitExceeded")
        else:
            if verdict == "Ignore":
                run.failed -= 1
            run.pod = run.pod_started = run.event = None
            self._ledger.write(run, run.status())
            self._later(run, self._pending_seconds, self._begin)

    def _end_pod(
        self,
        run: Run,
        exit_code: int,
        reason: str,
        *,
        last_words: str = "",
        eviction: pods.Eviction | None = None,
    ) -> None:
        now = time.time()
        started = run.pod_started if run.pod_started is not None else now
        message = "" if exit_code else f"sha256:{hashlib.sha256(run.name.encode()).hexdigest()}"
        status = pods.terminated(
            run.containers, started, now, exit_code, reason, message=message, eviction=eviction
        )
        self._ledger.write_pod(run, status["phase"], status)
        for name, _ in run.containers.main:
            self._logs.ended(run.pod_key, name, exit_code, last_words)
        if exit_code:
            run.failed += 1

    # -- the ends -------------------------------------------------------------------------------

    def _complete(self, run: Run) -> None:
        words = "Reached expected number of succeeded pods"
        conditions = [
            condition(kind, "CompletionsReached", words)
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        status = run.status(succeeded=1, conditions=conditions, completed=True)
        job = self._ledger.write(run, status)
        self._ledger.record(job, "Normal", "Completed", "Job completed")
        self._ended(run, job)

    def _fail(self, run: Run, reason: str, exit_code: int = 0) -> None:
        words = {
            "BackoffLimitExceeded": "Job has reached the specified backoff limit",
            "DeadlineExceeded": "Job was active longer than specified deadline",
            "PodFailurePolicy": f"Container {run.containers.main[0][0]} for pod "
            f"{run.namespace}/{run.pod} failed with exit code {exit_code} matching FailJob rule "
            "at index 0",
        }[reason]
        conditions = [condition(kind, reason, words) for kind in ("FailureTarget", "Failed")]
        job = self._ledger.write(run, run.status(conditions=conditions))
        self._ledger.record(job, "Warning", reason, words)
        self._ended(run, job)

    def _ended(self, run: Run, job: Obj) -> None:
        run.next_step()
        del self._runs[run.key]
        if run.ttl is not None:
            self._expire(run.ttl, job)

    def _check_deadline(self, key: str, uid: str, started: float) -> None:
        run = self._runs.get(key)
        if run is not None and run.uid == uid and run.started == started and not run.suspended:
            self._deadline(run)

    def _deadline(self, run: Run) -> None:
        if run.pod is not None:
            run.failed += 1
        self._remove_pod(run)
        self._fail(run, "DeadlineExceeded")

    def _remove_pod(self, run: Run) -> None:
        removed = self._ledger.remove_pod(run)
        run.pod = None
        if removed is not None:
            self._logs.removed(removed.key)

    def _suspend(self, run: Run) -> None:
        run.next_step()
        self._remove_pod(run)
        run.started = None
        held = condition("Suspended", "JobSuspended", "Job suspended")
        job = self._ledger.write(run, run.status(conditions=[held]))
        self._ledger.record(job, "Normal", "Suspended", "Job suspended")


def _how(fault: Fault) -> tuple[int, str]:
    """Return the exit code and the reason with which a container fails."""
    exit_code = fault.exit_code or fault.status or 1
    return exit_code, fault.reason or ("OOMKilled" if exit_code == _KILLED else "Error")
