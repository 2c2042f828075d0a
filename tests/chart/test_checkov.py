"""Exceptions from the checks of checkov, held to what is there; ``make checkov`` runs it."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from pydantic import ValidationError

from tests.chart.checkov import Excepted, Failure, exceptions, failures, manifests, problems

REPORT = {
    "results": {
        "failed_checks": [
            {
                "check_id": "CKV_K8S_22",
                "check_name": "Use read-only filesystem",
                "file_path": "/kaniko.yaml",
                "resource": "Job.builds.build-a",
            },
            {
                "check_id": "CKV2_K8S_6",
                "check_name": "NetworkPolicy",
                "file_path": "/kaniko.yaml",
                "resource": "Pod.builds.build-a.app.kubernetes.io/name-lambda-builder",
            },
        ]
    }
}
FOUND = [
    Failure("CKV2_K8S_6", "kaniko/Pod/build-a", "NetworkPolicy"),
    Failure("CKV_K8S_22", "kaniko/Job/build-a", "Use read-only filesystem"),
]


def excepted(check: str, *objects: str) -> Excepted:
    return Excepted(check=check, objects=[*objects], because="there is a good reason for it")


def test_every_exception_is_for_objects_that_there_are() -> None:
    there = {
        f"{name}/{found['kind']}/{found['metadata']['name']}"
        for name, objects in manifests()
        for found in objects
    }
    patterns = {pattern for each in exceptions() for pattern in each.objects}
    lost = [each for each in patterns if not any(fnmatchcase(one, each) for one in there)]
    assert lost == []


def test_no_two_exceptions_say_the_same() -> None:
    said = [(each.check, pattern) for each in exceptions() for pattern in each.objects]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("report", [REPORT, [REPORT]])
def test_a_report_is_read_by_check_and_object(report: object) -> None:
    assert failures(report) == FOUND


def test_what_is_told_are_failures_without_exception_and_exceptions_without_failure() -> None:
    both = [excepted("CKV_K8S_22", "kaniko/Job/*"), excepted("CKV2_K8S_6", "*/Pod/*")]
    assert problems(FOUND, both) == []
    assert problems(FOUND, both[:1]) == ["CKV2_K8S_6 kaniko/Pod/build-a: NetworkPolicy"]
    spare = excepted("CKV_K8S_22", "buildkit/Job/*")
    assert problems(FOUND, [*both, spare]) == [
        "CKV_K8S_22: nothing fails it, the exception can go",
    ]


def test_an_exception_without_a_reason_is_none() -> None:
    with pytest.raises(ValidationError):
        Excepted(check="CKV_K8S_22", objects=["*"], because="")
