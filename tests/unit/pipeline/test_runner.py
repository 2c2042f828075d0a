"""One attempt at a build: whose Job it is that has the name, and which may go."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import FailureReason, Permanent
from lambda_builder.kube.jobs import CreatedJob
from lambda_builder.kube.labels import APP, EVENT_HASH_LABEL, MANAGED_BY_LABEL, event_hash_label
from lambda_builder.pipeline.runner import BuildRunner, TargetBusy
from tests.journals import make_request

REQUEST = make_request(1)
JOB = CreatedJob(REQUEST.job_name, "uid-1", 1.0, False, "")
CONFLICT = Permanent(FailureReason.NAME_CONFLICT, "another's")
MANIFEST: dict[str, Any] = {"a": "manifest"}


def job(condition: str = "", *, event: int = 1, **metadata: Any) -> dict[str, Any]:
    """Return the Job of event ``event`` as the API has it."""
    label = event_hash_label(make_request(event).event_hash)
    labels = {MANAGED_BY_LABEL: APP, EVENT_HASH_LABEL: label}
    conditions = [{"type": condition, "status": "True"}] if condition else []
    return {
        "metadata": {"name": REQUEST.job_name, "uid": "uid-0", "labels": labels, **metadata},
        "status": {"conditions": conditions},
    }


class Jobs:
    """Answers each ``create_job`` with the next of its answers; has one Job."""

    def __init__(self, *answers: CreatedJob | Exception, there: dict[str, Any] | None = None):
        self.answers, self.there = [*answers], there
        self.deleted: list[tuple[str, str, float]] = []

    def create_job(self, manifest: dict[str, Any]) -> CreatedJob:
        assert manifest is MANIFEST
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get_job(self, name: str) -> dict[str, Any] | None:
        assert name == REQUEST.job_name
        return self.there

    def delete_job(self, name: str, *, uid: str, wait_seconds: float) -> bool:
        self.deleted.append((name, uid, wait_seconds))
        return True


def runner(jobs: Jobs, *, one_per_target: bool = True) -> BuildRunner:
    return BuildRunner(None, jobs, one_per_target=one_per_target)  # type: ignore[arg-type]


def test_a_job_is_created() -> None:
    assert runner(Jobs(JOB)).create(REQUEST, MANIFEST) is JOB


@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_finished_job_of_the_target_makes_way(condition: str) -> None:
    jobs = Jobs(CONFLICT, JOB, there=job(condition, event=2))
    assert runner(jobs).create(REQUEST, MANIFEST) is JOB
    assert jobs.deleted == [(REQUEST.job_name, "uid-0", 10.0)]


def test_a_job_that_went_by_itself_is_not_deleted() -> None:
    jobs = Jobs(CONFLICT, JOB)
    assert runner(jobs).create(REQUEST, MANIFEST) is JOB
    assert jobs.deleted == []


def test_an_unfinished_job_of_the_target_is_in_the_way() -> None:
    jobs = Jobs(CONFLICT, there=job(event=2))
    with pytest.raises(TargetBusy) as busy:
        runner(jobs).create(REQUEST, MANIFEST)
    assert busy.value.job_name == REQUEST.job_name
    assert jobs.deleted == []


def test_whoever_takes_the_name_that_became_free_has_the_target() -> None:
    with pytest.raises(TargetBusy):
        runner(Jobs(CONFLICT, CONFLICT)).create(REQUEST, MANIFEST)


@pytest.mark.parametrize("metadata", [{"labels": {MANAGED_BY_LABEL: "helm"}}, {"labels": {}}, None])
def test_a_job_of_somebody_else_is_left_alone(metadata: dict[str, Any] | None) -> None:
    foreign = job("Complete", **metadata or {})
    if metadata is None:
        del foreign["metadata"]["labels"]
    jobs = Jobs(CONFLICT, there=foreign)
    with pytest.raises(Permanent) as refused:
        runner(jobs).create(REQUEST, MANIFEST)
    assert refused.value is CONFLICT
    assert jobs.deleted == []


@pytest.mark.parametrize("answers", [(CONFLICT,), (Permanent(FailureReason.FORBIDDEN, "no"),)])
def test_where_names_are_by_event_no_job_makes_way(answers: tuple[Exception]) -> None:
    jobs = Jobs(*answers, there=job("Complete"))
    with pytest.raises(Permanent) as refused:
        runner(jobs, one_per_target=False).create(REQUEST, MANIFEST)
    assert refused.value is answers[0]


@pytest.mark.parametrize("answers", [1, 2])
def test_another_refusal_is_passed_on(answers: int) -> None:
    forbidden = Permanent(FailureReason.FORBIDDEN, "no")
    jobs = Jobs(*[CONFLICT, forbidden][2 - answers :])
    with pytest.raises(Permanent) as refused:
        runner(jobs).create(REQUEST, MANIFEST)
    assert refused.value is forbidden


def test_only_the_events_own_job_is_found_and_removed() -> None:
    own = Jobs(there=job("Complete"))
    found = runner(own).look(REQUEST)
    assert found is not None
    assert (found.name, found.uid, found.existed) == (REQUEST.job_name, "uid-0", True)
    current = runner(own).current(REQUEST)
    assert current is not None
    assert current.state is BuildState.SUCCEEDED
    assert runner(own).remove(REQUEST, wait_seconds=3.0)
    assert runner(own).remove(REQUEST)
    assert own.deleted == [(REQUEST.job_name, "uid-0", 3.0), (REQUEST.job_name, "uid-0", 0.0)]

    for jobs in (Jobs(), Jobs(there=job(event=2)), Jobs(there=job(labels={}))):
        assert runner(jobs).look(REQUEST) is None
        assert runner(jobs).current(REQUEST) is None
        assert not runner(jobs).remove(REQUEST)
        assert jobs.deleted == []
