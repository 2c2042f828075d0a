"""Whatever is sent, the server answers as an API server does, and goes on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JOBS = "/apis/batch/v1/namespaces/knative-lambda/jobs"

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=70)
    | st.sampled_from(["Never", "1Gi", "-1", "a-b", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "spec", "metadata", "containers", "rules", "a/b", "x y"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else (enumerate(value) if isinstance(value, list) else ())
    )
    for key, item in items:
        found += _paths(item, (*path, key))
    return found


JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "name": "fuzzed",
        "namespace": "knative-lambda",
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
        "finalizers": [],
        "ownerReferences": [],
        "resourceVersion": "",
        "uid": "",
        "generateName": "x-",
    },
    "spec": {
        "backoffLimit": 0,
        "activeDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 60,
        "suspend": False,
        "completionMode": "NonIndexed",
        "selector": None,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
            ]
        },
        "template": {
            "metadata": {"labels": {"e": "f"}, "annotations": {"g": "h"}},
            "spec": {
                "restartPolicy": "Never",
                "initContainers": [],
                "containers": [
                    {
                        "name": "kaniko",
                        "image": "kaniko",
                        "args": ["a"],
                        "env": [{"name": "A", "value": "b"}],
                        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                        "securityContext": {"runAsUser": 0},
                    }
                ],
                "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            },
        },
    },
}


@pytest.fixture
def sent(api, cluster):
    def send(method: str, path: str, body: Any) -> int:
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = api(method, path, body, content_type)
        assert answer.status < 500, answer.body
        assert answer.status < 400 or answer.json["kind"] == "Status"
        return answer.status

    return send


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(path=st.sampled_from(_paths(JOB)), junk=JUNK)
def test_a_job_broken_in_any_one_place_is_taken_or_refused(sent, cluster, path, junk):
    job = copy.deepcopy(JOB)
    place: Any = job
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    if sent("POST", JOBS, job) == 201:
        for made in cluster.jobs():
            sent("DELETE", f"{JOBS}/{made['metadata']['name']}?propagationPolicy=Background", None)


@FUZZ
@given(junk=JUNK)
def test_any_body_is_answered_whatever_the_verb(sent, junk):
    sent("POST", JOBS, copy.deepcopy(JOB))
    sent("POST", JOBS, junk)
    sent("PUT", f"{JOBS}/fuzzed", junk)
    sent("PATCH", f"{JOBS}/fuzzed", junk)
    sent("PATCH", f"{JOBS}/fuzzed", {"metadata": junk})
    sent("PATCH", f"{JOBS}/fuzzed", {"spec": junk})
    sent("DELETE", f"{JOBS}/fuzzed", junk)
    sent("POST", "/devcluster/faults", [junk, 7])
    sent("POST", "/devcluster/jobs/fuzzed/finish", junk)
