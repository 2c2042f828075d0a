"""Jobs against the embedded cluster: created once, whatever happens to the answers."""

from __future__ import annotations

import threading

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.devcluster import DevCluster, Fault
from lambda_builder.errors import FailureReason, Permanent, Transient, Unreachable
from lambda_builder.kube.errors import NotFound
from lambda_builder.kube.jobs import JobManager, NameConflict
from lambda_builder.kube.status import job_result
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings
from tests.waiting import wait_until


def create_fault(kind: str, **fields) -> Fault:
    return Fault(kind, verb="create", resource="jobs", times=1, **fields)


# -- created once ----------------------------------------------------------------------------------


def test_a_job_is_created_and_found_by_every_further_attempt(cluster, jobs, manifest):
    first = jobs.create_job(manifest())
    second = jobs.create_job(manifest())
    assert (first.existed, second.existed) == (False, True)
    assert first.uid == second.uid
    assert first.created_at is not None
    assert first.event_hash == manifest()["metadata"]["labels"]["build.notifi.network/event-hash"]
    assert len(cluster.jobs()) == 1


def test_an_answer_that_was_cut_off_leads_to_the_job_that_was_made(cluster, jobs, manifest):
    cluster.add_fault(create_fault("cut_after"))
    with pytest.raises(Unreachable) as caught:
        jobs.create_job(manifest())
    assert caught.value.reason is FailureReason.CONNECTION
    assert jobs.create_job(manifest()).existed
    assert len(cluster.jobs()) == 1


def test_an_answer_that_never_came_leads_to_the_job_that_was_made(cluster, connect, manifest):
    jobs = JobManager(connect(kube_api_timeout_seconds=1), "knative-lambda")
    cluster.add_fault(create_fault("hang_after"))
    with pytest.raises(Unreachable) as caught:
        jobs.create_job(manifest())
    assert caught.value.reason is FailureReason.TIMEOUT
    assert jobs.create_job(manifest()).existed
    assert len(cluster.jobs()) == 1


def test_twenty_at_once_make_one_job(cluster, jobs, manifest):
    barrier, made = threading.Barrier(20), []

    def create() -> None:
        body = manifest()
        barrier.wait()
        made.append(jobs.create_job(body))

    threads = [threading.Thread(target=create) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job.existed for job in made) == [False] + [True] * 19
    assert len({job.uid for job in made}) == 1
    assert len(cluster.jobs()) == 1


def test_the_job_of_another_event_is_told_and_left_alone(cluster, jobs, manifest, build):
    jobs.create_job(manifest("id-1"))
    before = cluster.jobs()[0]["metadata"]
    with pytest.raises(NameConflict) as caught:
        jobs.create_job(manifest("id-2", job_name=build("id-1").job_name))
    assert caught.value.reason is FailureReason.NAME_CONFLICT
    assert "another event: id 'id-1', source 'source-1'" in str(caught.value)
    assert caught.value.job["metadata"]["uid"] == before["uid"]
    assert [job["metadata"]["uid"] for job in cluster.jobs()] == [before["uid"]]


def test_a_job_that_is_being_deleted_is_waited_for(client, jobs, manifest):
    made = jobs.create_job(manifest())
    path = f"/apis/batch/v1/namespaces/knative-lambda/jobs/{made.name}"
    client.request("delete_job", "DELETE", path, body={"propagationPolicy": "Foreground"})
    with pytest.raises(Transient) as caught:
        jobs.create_job(manifest())
    assert caught.value.reason is FailureReason.BEING_DELETED
    wait_until(lambda: jobs.get_job(made.name) is None, "the Job to be gone")
    assert not jobs.create_job(manifest()).existed


def test_a_job_that_is_being_deleted_is_known_by_the_message_too(cluster, jobs, manifest):
    message = 'object is being deleted: jobs.batch "build-x" already exists'
    cluster.add_fault(create_fault("status", status=409, message=message))
    with pytest.raises(Transient) as caught:
        jobs.create_job(manifest())
    assert caught.value.reason is FailureReason.BEING_DELETED


def test_a_job_that_is_being_deleted_is_known_by_its_timestamp_too(cluster, client, jobs, manifest):
    made = jobs.create_job(manifest())
    path = f"/apis/batch/v1/namespaces/knative-lambda/jobs/{made.name}"
    client.request("delete_job", "DELETE", path, body={"propagationPolicy": "Foreground"})
    message = f'jobs.batch "{made.name}" already exists'
    cluster.add_fault(create_fault("status", status=409, message=message))
    with pytest.raises(Transient) as caught:
        jobs.create_job(manifest())
    assert caught.value.reason is FailureReason.BEING_DELETED


def test_a_conflict_without_a_job_is_tried_again(cluster, jobs, manifest):
    quota = (
        'Operation cannot be fulfilled on resourcequotas "jobs": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    cluster.add_fault(create_fault("status", status=409, message=quota))
    with pytest.raises(Transient, match="resourcequotas"):
        jobs.create_job(manifest())
    assert not jobs.create_job(manifest()).existed


# -- refused ---------------------------------------------------------------------------------------


def test_an_exhausted_quota_is_transient(kubeconfig, connect, manifest):
    with DevCluster(job_quota=1) as cluster:
        cluster.write_kubeconfig(kubeconfig)
        jobs = JobManager(connect(), "knative-lambda")
        jobs.create_job(manifest("id-1"))
        with pytest.raises(Transient) as caught:
            jobs.create_job(manifest("id-2"))
    assert caught.value.reason is FailureReason.QUOTA_EXCEEDED


@pytest.mark.parametrize(
    ("status", "message", "kind", "reason"),
    [
        (
            403,
            'admission webhook "x" denied the request: no',
            Permanent,
            FailureReason.WEBHOOK_DENIED,
        ),
        (
            500,
            'Internal error occurred: failed calling webhook "x"',
            Transient,
            FailureReason.WEBHOOK_UNAVAILABLE,
        ),
        (403, 'jobs is forbidden: User "x" cannot create', Permanent, FailureReason.FORBIDDEN),
        (504, "request did not complete in time", Unreachable, FailureReason.SERVER_ERROR),
    ],
)
def test_a_refusal_is_translated_by_its_message(
    cluster, jobs, manifest, status, message, kind, reason
):
    cluster.add_fault(create_fault("status", status=status, message=message))
    with pytest.raises(kind) as caught:
        jobs.create_job(manifest())
    assert caught.value.reason is reason
    assert message in str(caught.value)


def test_a_plain_text_429_is_transient_with_its_delay(cluster, jobs, manifest):
    cluster.add_fault(create_fault("status", status=429, retry_after=3))
    with pytest.raises(Transient) as caught:
        jobs.create_job(manifest())
    assert caught.value.reason is FailureReason.RATE_LIMITED
    assert caught.value.retry_after == 3


def test_a_namespace_that_is_missing_is_permanent(client, manifest):
    body = manifest()
    body["metadata"]["namespace"] = "nowhere"
    with pytest.raises(NotFound) as caught:
        JobManager(client, "nowhere").create_job(body)
    assert caught.value.reason is FailureReason.NAMESPACE_NOT_FOUND


def test_a_manifest_that_the_api_refuses_is_permanent(jobs, manifest):
    body = manifest()
    body["spec"]["backoffLimit"] = -1
    with pytest.raises(Permanent) as caught:
        jobs.create_job(body)
    assert caught.value.reason is FailureReason.INVALID_MANIFEST
    assert "backoffLimit" in str(caught.value)


# -- dry run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kaniko.yaml", "buildkit.yaml"])
@pytest.mark.parametrize("settings", [{}, {"registry_secret": "push", "kueue_queue": "builds"}])
def test_the_templates_of_the_package_pass_a_dry_run_that_keeps_nothing(
    cluster, jobs, name, settings
):
    template = JobTemplate.from_settings(Settings(job_template=name, **settings))
    jobs.dry_run(template.sample())
    assert cluster.jobs() == []


def test_a_dry_run_shows_the_refusal_as_the_api_wrote_it(jobs, manifest):
    body = manifest()
    body["spec"]["template"]["spec"]["containers"][0]["unheardOf"] = True
    with pytest.raises(Permanent, match="unheardOf"):
        jobs.dry_run(body)


def test_a_dry_run_of_a_name_that_is_taken_passes(jobs, manifest):
    jobs.create_job(manifest())
    jobs.dry_run(manifest())


# -- found -----------------------------------------------------------------------------------------


def test_jobs_are_found_by_their_exact_correlation_id(jobs, manifest):
    for number in range(3):
        jobs.create_job(manifest(f"id-{number}", correlation_id="shared"))
    jobs.create_job(manifest("id-9", correlation_id="other"))
    impostor = manifest("id-8", correlation_id="shared")
    impostor["metadata"]["annotations"]["build.notifi.network/correlation-id"] = "not it"
    jobs.create_job(impostor)
    found = [job_result(job).request.event_id for job in jobs.find_by_correlation("shared")]
    assert sorted(found) == ["id-0", "id-1", "id-2"]
    assert jobs.find_by_correlation("unheard of") == []


def test_only_unfinished_jobs_of_the_exact_target_are_active(cluster, jobs, manifest):
    cluster.pause_kubelet()
    for number, parser in enumerate(("p/1", "p/1", "p-1", "p/1")):
        jobs.create_job(manifest(f"id-{number}", parser_id=parser))
    names = {job["metadata"]["name"]: job_result(job) for job in cluster.jobs()}
    finished = next(name for name, build in names.items() if build.request.event_id == "id-0")
    cluster.resume_kubelet()
    cluster.finish_job(finished)
    cluster.pause_kubelet()
    found = jobs.find_by_target("customer-1", "p/1", active=True)
    ids = {job_result(job).request.event_id for job in found}
    assert "id-0" not in ids
    assert ids <= {"id-1", "id-3"}


def test_a_list_goes_on_page_by_page(client, jobs, manifest):
    names = sorted(jobs.create_job(manifest(f"id-{number}")).name for number in range(7))
    path = f"/apis/batch/v1/namespaces/{jobs.namespace}/jobs"
    pages = [page["items"] for page in client.pages("list_jobs", path, {"limit": 3})]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(job["metadata"]["name"] for page in pages for job in page) == names
    assert sorted(job["metadata"]["name"] for job in jobs.list_jobs()) == names


def test_a_job_that_is_not_there_is_none(jobs):
    assert jobs.get_job("nobody") is None
    assert jobs.get_job("no/body?x=1") is None


# -- changed and deleted ---------------------------------------------------------------------------


def test_a_deleted_job_is_gone_with_its_pods(jobs, pods, manifest):
    made = jobs.create_job(manifest())
    wait_until(lambda: pods.pods_of(made.name), "a pod")
    assert jobs.delete_job(made.name, wait_seconds=5)
    assert jobs.get_job(made.name) is None
    wait_until(lambda: not pods.pods_of(made.name), "the pods to be gone")
    assert not jobs.delete_job(made.name)


def test_only_the_very_job_that_is_meant_is_deleted(jobs, manifest):
    made = jobs.create_job(manifest())
    assert not jobs.delete_job(made.name, uid="another")
    assert jobs.get_job(made.name) is not None
    assert jobs.delete_job(made.name, uid=made.uid, wait_seconds=5)


def test_an_end_that_does_not_come_in_time_is_told(client, jobs, manifest):
    body = manifest()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    made = jobs.create_job(body)
    with pytest.raises(Transient) as caught:
        jobs.delete_job(made.name, wait_seconds=0.2)
    assert caught.value.reason is FailureReason.BEING_DELETED


def test_annotations_are_set_and_removed_on_that_very_job(cluster, jobs, manifest):
    made = jobs.create_job(manifest())
    assert jobs.patch_annotations(made.name, {"told": "started", "x/y": "ü"}, made.uid)
    assert jobs.patch_annotations(made.name, {"x/y": None}, made.uid)
    annotations = cluster.job(made.name)["metadata"]["annotations"]
    assert annotations["told"] == "started"
    assert "x/y" not in annotations
    assert annotations["build.notifi.network/event-id"] == "id-1"
    assert not jobs.patch_annotations(made.name, {"told": "more"}, "another")
    assert cluster.job(made.name)["metadata"]["annotations"]["told"] == "started"
    assert not jobs.patch_annotations("nobody", {"told": "x"}, "another")


# -- read as builds --------------------------------------------------------------------------------


def state(jobs, name):
    return job_result(jobs.get_job(name)).state


def test_a_job_goes_from_created_over_running_to_its_end(cluster, jobs, manifest):
    cluster.pause_kubelet()
    good, bad = jobs.create_job(manifest("id-1")).name, jobs.create_job(manifest("id-2")).name
    assert state(jobs, good) is BuildState.CREATED
    cluster.add_fault(Fault("fail", name_prefix=bad, exit_code=3))
    cluster.resume_kubelet()
    wait_until(lambda: state(jobs, good) is BuildState.SUCCEEDED, "success")
    wait_until(lambda: state(jobs, bad) is BuildState.FAILED, "failure")
    result = job_result(jobs.get_job(good))
    assert result.created_at <= result.started_at <= result.finished_at
    assert job_result(jobs.get_job(bad)).error is not None


def test_a_job_out_of_time_says_so(cluster, jobs, manifest):
    made = jobs.create_job(manifest())
    cluster.finish_job(made.name, succeeded=False, reason="DeadlineExceeded")
    error = job_result(jobs.get_job(made.name)).error
    assert error is not None
    assert error.code == "deadline_exceeded"


def test_a_suspended_job_shows_that_it_is_held(jobs, manifest):
    body = manifest()
    body["spec"]["suspend"] = True
    made = jobs.create_job(body)
    result = job_result(jobs.get_job(made.name))
    assert result.state is BuildState.CREATED
    assert result.error is not None
    assert result.error.code == "suspended"
