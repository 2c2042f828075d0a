"""What the API refuses, in the words of the real one."""

from __future__ import annotations

import json

import pytest

from lambda_builder.devcluster import DevCluster

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"


def test_an_existing_name_is_refused_with_already_exists(api, new_job):
    api("POST", JOBS, new_job())
    answer = api("POST", JOBS, new_job())
    assert answer.status == 409
    assert answer.json == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'jobs.batch "build-a" already exists',
        "reason": "AlreadyExists",
        "details": {"name": "build-a", "group": "batch", "kind": "jobs"},
        "code": 409,
    }


def test_a_missing_job_and_a_missing_namespace_are_not_found(api, new_job):
    job = api("GET", f"{JOBS}/absent").json
    assert (job["code"], job["message"]) == (404, 'jobs.batch "absent" not found')
    space = api("POST", "/apis/batch/v1/namespaces/nowhere/jobs", new_job())
    assert (space.status, space.json["message"]) == (404, 'namespaces "nowhere" not found')


def _pod(job, **changes):
    job["spec"]["template"]["spec"].update(changes)
    return job


def _container(job, **changes):
    job["spec"]["template"]["spec"]["containers"][0].update(changes)
    return job


def _meta(job, **changes):
    job["metadata"].update(changes)
    return job


INVALID = {
    "upper case name": (
        lambda job: _meta(job, name="Build_A"),
        "metadata.name",
        "a lowercase RFC 1123 subdomain must consist of",
    ),
    "name over 63 characters": (
        lambda job: _meta(job, name="a" * 64),
        "spec.template.labels",
        "must be no more than 63 bytes",
    ),
    "no name": (
        lambda job: _meta(job, name=""),
        "metadata.name",
        "name or generateName is required",
    ),
    "label value with a space": (
        lambda job: _meta(job, labels={"a": "b c"}),
        "metadata.labels",
        "a valid label must be an empty string or consist of",
    ),
    "label value over 63": (
        lambda job: _meta(job, labels={"a": "b" * 64}),
        "metadata.labels",
        "must be no more than 63 bytes",
    ),
    "label key with a space": (
        lambda job: _meta(job, labels={"a b": "c"}),
        "metadata.labels",
        "name part must consist of alphanumeric characters",
    ),
    "restart policy Always": (
        lambda job: _pod(job, restartPolicy="Always"),
        "spec.template.spec.restartPolicy",
        'Unsupported value: "Always": supported values: "OnFailure", "Never"',
    ),
    "no restart policy": (
        lambda job: _pod(job, restartPolicy=None),
        "spec.template.spec.restartPolicy",
        "Unsupported value",
    ),
    "no containers": (
        lambda job: _pod(job, containers=[]),
        "spec.template.spec.containers",
        "Required value",
    ),
    "container without a name": (
        lambda job: _container(job, name=""),
        "spec.template.spec.containers[0].name",
        "Required value",
    ),
    "container without an image": (
        lambda job: _container(job, image=None),
        "spec.template.spec.containers[0].image",
        "Required value",
    ),
    "mount of no volume": (
        lambda job: _container(job, volumeMounts=[{"name": "x", "mountPath": "/x"}]),
        "spec.template.spec.containers[0].volumeMounts[0].name",
        'Not found: "x"',
    ),
    "negative memory": (
        lambda job: _container(job, resources={"limits": {"memory": "-1Gi"}}),
        "spec.template.spec.containers[0].resources.limits[memory]",
        "must be greater than or equal to 0",
    ),
    "request above its limit": (
        lambda job: _container(
            job, resources={"limits": {"cpu": "500m"}, "requests": {"cpu": "1"}}
        ),
        "spec.template.spec.containers[0].resources.requests",
        "must be less than or equal to cpu limit of 500m",
    ),
    "negative backoff limit": (
        lambda job: {**job, "spec": {**job["spec"], "backoffLimit": -1}},
        "spec.backoffLimit",
        "must be greater than or equal to 0",
    ),
    "pod failure policy with OnFailure": (
        lambda job: _pod(
            {
                **job,
                "spec": {
                    **job["spec"],
                    "podFailurePolicy": {
                        "rules": [
                            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
                        ]
                    },
                },
            },
            restartPolicy="OnFailure",
        ),
        "spec.template.spec.restartPolicy",
        'only "Never" is supported when podFailurePolicy is specified',
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_job_is_refused_with_its_field_and_cause(api, cluster, new_job, case):
    change, field, words = INVALID[case]
    answer = api("POST", JOBS, change(new_job()))
    assert answer.status == 422, answer.body
    assert answer.json["reason"] == "Invalid"
    causes = {cause["field"]: cause["message"] for cause in answer.json["details"]["causes"]}
    assert words in causes[field]
    assert words in answer.json["message"]
    assert cluster.jobs() == []


WRONG_TYPES = {
    "text for a number": (
        {"spec": {"backoffLimit": "six"}},
        "cannot unmarshal string into Go struct field JobSpec.spec.backoffLimit of type int32",
    ),
    "a list for an object": ({"spec": []}, "cannot unmarshal array"),
    "a number for a label": ({"metadata": {"labels": {"a": 1}}}, "cannot unmarshal number"),
    "text for a list": (
        {"spec": {"template": {"spec": {"containers": "kaniko"}}}},
        "PodSpec.spec.template.spec.containers of type []Container",
    ),
    "no quantity": (
        {
            "spec": {
                "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}
            }
        },
        "quantities must match the regular expression",
    ),
    "a huge number": ({"spec": {"parallelism": 2**40}}, "cannot unmarshal number 1099511627776"),
    "another kind": ({"kind": "Pod"}, "does not match the expected kind"),
    "another version": ({"apiVersion": "v1"}, "does not match the expected API version"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_wrong_types_are_a_bad_request_that_says_which(api, case):
    body, words = WRONG_TYPES[case]
    answer = api("POST", JOBS, body)
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    assert words in answer.json["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000]
)
def test_what_is_no_json_object_is_a_bad_request(api, body):
    answer = api("POST", JOBS, body)
    assert answer.status == 400
    assert answer.json["reason"] == "BadRequest"


def test_a_job_nested_too_deep_in_a_known_field_is_a_bad_request(api, new_job):
    deep = json.dumps({"x": None}).encode()
    for _ in range(400):
        deep = b'{"properties":' + deep + b"}"
    assert api("POST", JOBS, b'{"spec":{"selector":' + deep + b"}}").status in (400, 422)


def test_other_content_types_are_unsupported(api):
    answer = api("POST", JOBS, b"\0", "application/vnd.kubernetes.protobuf")
    assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")


def test_unknown_methods_and_paths_are_refused(api):
    assert api("POST", f"{JOBS}/a", {}).status == 405
    assert api("HEAD", JOBS).status == 405
    assert api("GET", "/apis/apps/v1/deployments").status == 404
    assert api("GET", f"{JOBS}/a/nonsense").status == 404


def test_a_token_is_asked_for_and_can_be_rotated(connect):
    with DevCluster(token="first") as cluster:
        api = connect(cluster)
        assert api("GET", JOBS).status == 401
        assert api("GET", JOBS, Authorization="Bearer first").status == 200
        assert api("GET", "/livez").body == b"ok"
        cluster.set_token("second")
        refused = api("GET", JOBS, Authorization="Bearer first")
        assert (refused.status, refused.json["reason"]) == (401, "Unauthorized")
        assert api("GET", JOBS, Authorization="Bearer second").status == 200


def test_selectors_limits_and_tokens_that_cannot_be_read_are_bad_requests(api):
    for query in ("labelSelector=a%3D%3D%3Db", "limit=many", "continue=%21%21", "fieldSelector=x"):
        assert api("GET", f"{JOBS}?{query}").status == 400, query


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_no_number_in_json_is_refused(api, new_job, text):
    job = json.dumps(new_job()).encode().replace(b'"backoffLimit": 0', b'"backoffLimit": ' + text)
    assert text in job
    answer = api("POST", JOBS, job)
    assert answer.status == 400
    assert "json parse error: invalid character" in answer.json["message"]
