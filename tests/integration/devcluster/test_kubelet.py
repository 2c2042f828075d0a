"""The simulated Job controller and kubelet: what becomes of a Job by itself or by hand."""

from __future__ import annotations

import pytest

from lambda_builder.devcluster import DevCluster, Fault

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"
PODS = "/api/v1/namespaces/knative-lambda/pods"


def test_a_job_goes_from_pending_to_running_to_complete(batch, core, cluster, new_job, wait_until):
    cluster.pause_kubelet()
    batch.create_namespaced_job("knative-lambda", new_job())
    assert cluster.job("build-a")["status"] == {}
    cluster.resume_kubelet()
    wait_until(lambda: cluster.job("build-a")["status"].get("ready"))
    wait_until(lambda: cluster.job("build-a")["status"].get("succeeded"))
    status = batch.read_namespaced_job("build-a", "knative-lambda").status
    assert [(c.type, c.reason) for c in status.conditions] == [
        ("SuccessCriteriaMet", "CompletionsReached"),
        ("Complete", "CompletionsReached"),
    ]
    assert status.start_time <= status.completion_time
    assert not status.active
    pod = core.list_namespaced_pod("knative-lambda", label_selector="job-name=build-a").items[0]
    assert pod.status.phase == "Succeeded"
    assert pod.status.container_statuses[0].state.terminated.exit_code == 0
    assert pod.metadata.owner_references[0].name == "build-a"
    assert pod.metadata.name.startswith("build-a-")


def test_init_containers_show_as_completed_once_the_pod_runs(core, api, new_job, wait_until):
    job = new_job()
    job["spec"]["template"]["spec"]["initContainers"] = [{"name": "fetch", "image": "busybox"}]
    api("POST", JOBS, job)

    def running():
        pods = core.list_namespaced_pod("knative-lambda").items
        return pods[0] if pods and pods[0].status.phase != "Pending" else None

    pod = wait_until(running)
    assert pod.status.init_container_statuses[0].state.terminated.reason == "Completed"


def test_a_failing_container_fails_the_job_at_its_backoff_limit(
    api, core, cluster, new_job, wait_until, condition_of
):
    cluster.add_fault(Fault("fail", name_prefix="build-", exit_code=3))
    api("POST", JOBS, new_job(backoffLimit=1))
    wait_until(lambda: condition_of("build-a") == "Failed BackoffLimitExceeded")
    assert cluster.job("build-a")["status"]["failed"] == 2
    ended = core.list_namespaced_pod("knative-lambda").items
    codes = [pod.status.container_statuses[0].state.terminated.exit_code for pod in ended]
    assert codes == [3, 3]


def test_a_pod_failure_policy_can_fail_the_job_at_once(
    api, cluster, new_job, wait_until, condition_of
):
    cluster.add_fault(Fault("fail", status=42))
    rules = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]
    api("POST", JOBS, new_job(backoffLimit=5, podFailurePolicy={"rules": rules}))
    wait_until(lambda: condition_of("build-a") == "Failed PodFailurePolicy")
    assert cluster.job("build-a")["status"]["failed"] == 1


def test_a_job_past_its_deadline_fails_and_loses_its_pod(connect, new_job, wait_until):
    with DevCluster(run_seconds=60) as cluster:
        connect(cluster)("POST", JOBS, new_job(activeDeadlineSeconds=1))
        wait_until(lambda: cluster.job("build-a")["status"].get("conditions"))
        reasons = [c["reason"] for c in cluster.job("build-a")["status"]["conditions"]]
        assert reasons == ["DeadlineExceeded", "DeadlineExceeded"]
        assert connect(cluster)("GET", PODS).json["items"] == []


def test_a_finished_job_goes_after_its_ttl(api, cluster, new_job, wait_until):
    api("POST", JOBS, new_job(ttlSecondsAfterFinished=0))
    wait_until(lambda: cluster.job("build-a") is None)
    assert api("GET", PODS).json["items"] == []


def test_a_suspended_job_waits_until_it_is_resumed(
    api, batch, cluster, new_job, wait_until, condition_of
):
    api("POST", JOBS, new_job(suspend=True))
    assert condition_of("build-a") == "Suspended JobSuspended"
    batch.patch_namespaced_job("build-a", "knative-lambda", {"spec": {"suspend": False}})
    wait_until(lambda: cluster.job("build-a")["status"].get("succeeded"))


def test_a_running_job_that_is_suspended_loses_its_pod(api, batch, cluster, new_job, wait_until):
    api("POST", JOBS, new_job())
    wait_until(lambda: cluster.job("build-a")["status"].get("active"))
    batch.patch_namespaced_job("build-a", "knative-lambda", {"spec": {"suspend": True}})
    assert api("GET", PODS).json["items"] == []
    assert "startTime" not in cluster.job("build-a")["status"]


@pytest.mark.parametrize("paused", [True, False])
def test_a_job_can_be_ended_by_hand(api, cluster, new_job, condition_of, paused):
    if paused:
        cluster.pause_kubelet()
    api("POST", JOBS, new_job("good"))
    api("POST", JOBS, new_job("bad", backoffLimit=6))
    api("POST", JOBS, new_job("late"))
    cluster.finish_job("good")
    cluster.finish_job("bad", succeeded=False, exit_code=137, reason="OOMKilled")
    cluster.finish_job("late", succeeded=False, reason="DeadlineExceeded")
    assert condition_of("good") == "Complete CompletionsReached"
    assert condition_of("bad") == "Failed BackoffLimitExceeded"
    assert condition_of("late") == "Failed DeadlineExceeded"
    pods = api("GET", f"{PODS}?labelSelector=job-name%3Dbad").json["items"]
    ended = pods[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    with pytest.raises(KeyError):
        cluster.finish_job("good")


def test_refused_pods_leave_the_job_without_pods_and_an_event_that_says_why(
    api, core, cluster, new_job, wait_until
):
    cluster.add_fault(Fault("refuse_pods", message='violates PodSecurity "restricted:latest"'))
    uid = api("POST", JOBS, new_job()).json["metadata"]["uid"]
    chosen = f"involvedObject.uid={uid},reason=FailedCreate,type=Warning"

    def told():
        return core.list_namespaced_event("knative-lambda", field_selector=chosen).items

    event = wait_until(told)[0]
    assert event.message == 'Error creating: violates PodSecurity "restricted:latest"'
    assert event.involved_object.name == "build-a"
    assert core.list_namespaced_pod("knative-lambda").items == []
    assert not cluster.job("build-a")["status"].get("active")
    wait_until(lambda: told()[0].count > 1)
    cluster.clear_faults()
    wait_until(lambda: cluster.job("build-a")["status"].get("succeeded"))


def test_an_image_that_cannot_be_pulled_keeps_the_pod_waiting(
    api, core, cluster, new_job, wait_until
):
    cluster.add_fault(Fault("image_pull", message="no such image", times=1))
    api("POST", JOBS, new_job())

    def waiting(reason):
        pods = core.list_namespaced_pod("knative-lambda").items
        state = pods[0].status.container_statuses[0].state.waiting if pods else None
        return pods[0] if state and state.reason == reason else None

    first = wait_until(lambda: waiting("ErrImagePull"))
    assert first.status.phase == "Pending"
    assert first.status.container_statuses[0].state.waiting.message == "no such image"
    wait_until(lambda: waiting("ImagePullBackOff"))
    reasons = {event.reason for event in core.list_namespaced_event("knative-lambda").items}
    assert {"Failed", "BackOff"} <= reasons
    cluster.clear_faults()
    wait_until(lambda: cluster.job("build-a")["status"].get("succeeded"))


def test_slow_pods_wait_longer_and_others_do_not(api, cluster, new_job, wait_until):
    cluster.add_fault(Fault("slow_pods", name_prefix="slow", seconds=60))
    api("POST", JOBS, new_job("slow"))
    api("POST", JOBS, new_job("fast"))
    wait_until(lambda: cluster.job("fast")["status"].get("succeeded"))
    assert cluster.job("slow")["status"]["ready"] == 0


def test_slow_runs_begin_at_once_and_end_later(api, cluster, new_job, wait_until):
    cluster.add_fault(Fault("slow_runs", name_prefix="slow", seconds=60))
    api("POST", JOBS, new_job("slow"))
    wait_until(lambda: cluster.job("slow")["status"].get("ready"))
    api("POST", JOBS, new_job("fast"))
    wait_until(lambda: cluster.job("fast")["status"].get("succeeded"))
    assert cluster.job("slow")["status"]["ready"] == 1
