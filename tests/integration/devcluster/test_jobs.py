"""Jobs through the API: created, read, listed, changed, deleted."""

from __future__ import annotations

import json
import re
import threading

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"
MERGE = "application/merge-patch+json"


def test_a_created_job_carries_what_the_server_sets(batch, new_job):
    made = batch.create_namespaced_job("knative-lambda", new_job())

    assert made.metadata.uid
    assert int(made.metadata.resource_version) > 0
    assert made.metadata.generation == 1
    assert made.metadata.creation_timestamp is not None
    assert (made.spec.completions, made.spec.parallelism) == (1, 1)
    labels = made.spec.template.metadata.labels
    assert labels["job-name"] == labels["batch.kubernetes.io/job-name"] == "build-a"
    assert labels["controller-uid"] == made.metadata.uid
    assert made.spec.selector.match_labels == {
        "batch.kubernetes.io/controller-uid": made.metadata.uid
    }


def test_a_job_without_a_backoff_limit_gets_six_retries(api, new_job):
    job = new_job()
    del job["spec"]["backoffLimit"]
    assert api("POST", JOBS, job).json["spec"]["backoffLimit"] == 6


def test_a_dry_run_answers_as_a_creation_but_keeps_nothing(api, cluster, new_job):
    answer = api("POST", f"{JOBS}?dryRun=All", new_job())
    assert answer.status == 201
    assert cluster.job("build-a") is None


def test_a_generated_name_is_the_prefix_and_five_characters(api, new_job):
    job = new_job()
    job["metadata"] = {"generateName": "build-"}
    names = {api("POST", JOBS, job).json["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("build-") and len(name) == 11 for name in names)


def test_unknown_fields_are_dropped_with_a_warning_unless_strict(api, new_job):
    job = new_job(backofLimit=3)
    strict = api("POST", f"{JOBS}?fieldValidation=Strict", job)
    assert strict.status == 400
    assert 'strict decoding error: unknown field "spec.backofLimit"' in strict.json["message"]

    lenient = api("POST", JOBS, job)
    assert lenient.status == 201
    assert "backofLimit" not in lenient.json["spec"]
    assert "spec.backofLimit" in lenient.headers["warning"]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("tier=a", ["j1", "j2"]),
        ("tier==b", ["j3"]),
        ("tier!=a", ["j3", "j4"]),
        ("tier in (a,b)", ["j1", "j2", "j3"]),
        ("tier notin (a,b)", ["j4"]),
        ("tier", ["j1", "j2", "j3"]),
        ("!tier", ["j4"]),
        ("tier=a,one=yes", ["j1"]),
        ("tier=c", []),
        ("app=x,tier!=b", ["j1", "j2", "j4"]),
    ],
)
def test_label_selectors_choose_as_the_real_ones_do(batch, new_job, selector, names):
    for name, labels in (
        ("j1", {"tier": "a", "one": "yes"}),
        ("j2", {"tier": "a"}),
        ("j3", {"tier": "b"}),
        ("j4", {}),
    ):
        batch.create_namespaced_job("knative-lambda", new_job(name, labels={"app": "x", **labels}))
    found = batch.list_namespaced_job("knative-lambda", label_selector=selector)
    assert [job.metadata.name for job in found.items] == names


def test_lists_come_in_pages_that_together_hold_everything(batch, new_job):
    for number in range(7):
        batch.create_namespaced_job("knative-lambda", new_job(f"job-{number}"))
    names, token, remaining = [], None, []
    while True:
        page = batch.list_namespaced_job("knative-lambda", limit=3, _continue=token)
        names += [job.metadata.name for job in page.items]
        remaining.append(page.metadata.remaining_item_count)
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"job-{number}" for number in range(7)]
    assert remaining == [4, 1, None]


def test_a_job_deleted_between_two_pages_is_simply_missing(api, new_job):
    for number in range(4):
        api("POST", JOBS, new_job(f"job-{number}"))
    first = api("GET", f"{JOBS}?limit=2").json
    api("DELETE", f"{JOBS}/job-2?propagationPolicy=Background")
    token = first["metadata"]["continue"]
    second = api("GET", f"{JOBS}?limit=2&continue={token}").json
    assert [job["metadata"]["name"] for job in second["items"]] == ["job-3"]


def test_a_list_can_be_narrowed_to_one_name(batch, new_job):
    for name in ("one", "two"):
        batch.create_namespaced_job("knative-lambda", new_job(name))
    found = batch.list_namespaced_job("knative-lambda", field_selector="metadata.name=two")
    assert [job.metadata.name for job in found.items] == ["two"]


def test_a_merge_patch_changes_labels_and_annotations_only_where_it_says(api, batch, new_job):
    batch.create_namespaced_job("knative-lambda", new_job())
    change = {"metadata": {"annotations": {"told": "yes"}, "labels": {"app": None, "new": "1"}}}
    changed = batch.patch_namespaced_job("build-a", "knative-lambda", change)
    assert changed.metadata.annotations == {"told": "yes"}
    assert changed.metadata.labels == {"new": "1"}
    assert api("GET", f"{JOBS}?labelSelector=new%3D1").json["items"]
    assert not api("GET", f"{JOBS}?labelSelector=app%3Dlambda-builder").json["items"]


def test_a_patch_with_an_old_revision_is_a_conflict(api, new_job):
    old = api("POST", JOBS, new_job()).json["metadata"]["resourceVersion"]
    api("PATCH", f"{JOBS}/build-a", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    change = {"metadata": {"resourceVersion": old, "labels": {"a": "c"}}}
    answer = api("PATCH", f"{JOBS}/build-a", change, MERGE)
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer.json["message"]


def test_the_pod_template_cannot_be_changed(api, new_job):
    api("POST", JOBS, new_job())
    change = {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}
    answer = api("PATCH", f"{JOBS}/build-a", change, MERGE)
    assert answer.status == 422
    assert "spec.template" in answer.json["message"]
    assert "field is immutable" in answer.json["message"]


def test_a_json_patch_is_not_understood(api, new_job):
    api("POST", JOBS, new_job())
    answer = api("PATCH", f"{JOBS}/build-a", [], "application/json-patch+json")
    assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")


def test_background_deletion_takes_the_pods_too(batch, core, cluster, new_job, wait_until):
    batch.create_namespaced_job("knative-lambda", new_job())
    wait_until(lambda: core.list_namespaced_pod("knative-lambda").items)
    done = batch.delete_namespaced_job("build-a", "knative-lambda", propagation_policy="Background")
    assert done["status"] == "Success"
    assert cluster.job("build-a") is None
    wait_until(lambda: not core.list_namespaced_pod("knative-lambda").items)


def test_deletion_without_a_policy_keeps_the_pods_and_warns(api, core, new_job, wait_until):
    api("POST", JOBS, new_job())
    wait_until(lambda: core.list_namespaced_pod("knative-lambda").items)
    answer = api("DELETE", f"{JOBS}/build-a")
    assert "child pods are preserved by default" in answer.headers["warning"]
    assert core.list_namespaced_pod("knative-lambda").items[0].metadata.owner_references is None


def test_foreground_deletion_shows_for_a_moment_and_blocks_the_name(
    batch, cluster, new_job, wait_until
):
    batch.create_namespaced_job("knative-lambda", new_job())
    options = client.V1DeleteOptions(propagation_policy="Foreground")
    batch.delete_namespaced_job("build-a", "knative-lambda", body=options)
    assert cluster.job("build-a")["metadata"]["deletionTimestamp"]
    with pytest.raises(ApiException) as refused:
        batch.create_namespaced_job("knative-lambda", new_job())
    assert refused.value.status == 409
    assert 'object is being deleted: jobs.batch \\"build-a\\" already exists' in refused.value.body
    wait_until(lambda: cluster.job("build-a") is None)
    batch.create_namespaced_job("knative-lambda", new_job())


def test_a_finalizer_holds_a_deleted_job_until_it_is_taken_off(api, cluster, new_job):
    job = new_job()
    job["metadata"]["finalizers"] = ["example.org/hold"]
    api("POST", JOBS, job)
    api("DELETE", f"{JOBS}/build-a?propagationPolicy=Background")
    assert cluster.job("build-a")["metadata"]["deletionTimestamp"]
    api("PATCH", f"{JOBS}/build-a", {"metadata": {"finalizers": None}}, MERGE)
    assert cluster.job("build-a") is None


def test_deletion_with_another_uid_is_a_conflict(api, cluster, new_job):
    api("POST", JOBS, new_job())
    answer = api("DELETE", f"{JOBS}/build-a", {"preconditions": {"uid": "another"}})
    assert answer.status == 409
    assert "Precondition failed: UID in precondition: another" in answer.json["message"]
    assert cluster.job("build-a") is not None


def test_twenty_creations_of_one_name_make_one_job(cluster, connect, new_job):
    statuses: list[int] = []

    def create() -> None:
        statuses.append(connect(cluster)("POST", JOBS, new_job()).status)

    threads = [threading.Thread(target=create) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] + [409] * 19
    assert len(cluster.jobs()) == 1


def test_jobs_are_told_in_the_order_of_their_creation_as_copies(api, cluster, new_job):
    for name in ("b", "a", "c"):
        api("POST", JOBS, new_job(name))
    assert [job["metadata"]["name"] for job in cluster.jobs("knative-lambda")] == ["b", "a", "c"]
    cluster.job("a")["metadata"]["name"] = "changed"
    assert cluster.job("a")["metadata"]["name"] == "a"
    assert cluster.jobs("default") == []


def test_any_text_comes_back_and_a_lone_surrogate_as_a_question_mark(api, new_job):
    texts = {"odd": 'żółw 🐢 \\ "quoted" \u2028\x7f', "lone": "a\ud800b"}
    job = new_job()
    job["metadata"]["annotations"] = texts
    expected = {**texts, "lone": "a?b"}
    assert api("POST", JOBS, job).json["metadata"]["annotations"] == expected
    patched = api("PATCH", f"{JOBS}/build-a", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert patched.json["metadata"]["annotations"] == expected
    assert api("GET", f"{JOBS}/build-a").json["metadata"]["labels"]["a"] == "b"


@pytest.mark.parametrize("query", ["", "?dryRun=All", "?fieldValidation=Strict"])
@pytest.mark.parametrize(
    "meta",
    [
        {"annotations": {"a": "1", "kept": None}},
        {"annotations": None, "labels": {"a": "b"}},
        {"labels": {"a": "not a label"}},
        {"labels": {"a": 1}},
        {"labels": []},
        {"uid": "another"},
        {"resourceVersion": "1"},
        {"resourceVersion": None, "uid": ""},
        {"name": "another", "namespace": "another", "creationTimestamp": None, "generation": 7},
        {"finalizers": ["example.com/keep"]},
        {"finalizers": "none"},
        {"colour": "red"},
        {},
    ],
)
def test_a_patch_of_metadata_alone_does_what_it_does_beside_others(api, new_job, meta, query):
    answers = []
    for name, patch in (("build-a", {}), ("build-b", {"spec": {}})):
        job = new_job(suspend=True)  # nothing happens to it meanwhile
        job["metadata"] |= {"name": name, "annotations": {"kept": "yes"}}
        api("POST", JOBS, job)
        before = api("GET", f"{JOBS}/{name}").json["metadata"]
        patched = api("PATCH", f"{JOBS}/{name}{query}", {"metadata": meta, **patch}, MERGE)
        after = api("GET", f"{JOBS}/{name}").json["metadata"]
        found = [patched.json.get("metadata"), after, patched.json.get("message")]
        text = json.dumps(found, sort_keys=True).replace(before["uid"], "<uid>")
        text = re.sub('Version": "[0-9]+"|Time[a-z]*": "[^"]+"', "<later>", text)
        is_new = after["resourceVersion"] != before["resourceVersion"]
        warning = patched.headers.get("warning")
        answers.append((patched.status, warning, is_new, text.replace(name, "<name>")))
    assert answers[0] == answers[1]
