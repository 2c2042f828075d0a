"""Why a Job does not run or failed, as its pods, their events and their logs tell."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_builder.builds import BuildError, FailureCategory
from lambda_builder.errors import FailureReason, Permanent
from lambda_builder.kube.pod_diagnosis import PodDiagnosis, problem_of


class Pods:
    """Stands for what the API would answer; a log that is an error is raised."""

    def __init__(self, *, pending=(), warnings=(), of_job=(), log=""):
        self._pending, self._warnings, self._of_job = pending, warnings, of_job
        self._log = log
        self.asked = []

    def pending_pods(self):
        return iter(self._pending)

    def job_warnings(self, reason):
        self.asked.append(reason)
        return iter(self._warnings)

    def pods_of(self, job_name):
        return list(self._of_job)

    def read_log(self, pod, container, *, tail_lines):
        self.asked.append((pod, container, tail_lines))
        if isinstance(self._log, Exception):
            raise self._log
        return self._log


def diagnosis(pods: Any) -> PodDiagnosis:
    return PodDiagnosis(pods)


def pod(*states, uid="uid-1", name="build-x-abcde", **status):
    statuses = [
        {"name": f"container-{number}", "image": "registry/image:1", "state": state}
        for number, state in enumerate(states)
    ]
    owner = {"kind": "Job", "uid": uid, "controller": True}
    return {
        "metadata": {"name": name, "ownerReferences": [owner]},
        "status": {"containerStatuses": statuses, **status},
    }


def waiting(reason, message=None):
    return {"waiting": {"reason": reason, "message": message}}


def ended(code, reason="Error", message=None):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def refusal(message, uid="uid-1", at="2026-10-02T08:00:00Z", **fields):
    return {"involvedObject": {"uid": uid}, "message": message, "lastTimestamp": at, **fields}


@pytest.mark.parametrize(
    ("reason", "code", "category"),
    [
        ("ErrImagePull", "image_pull_failed", "image_pull"),
        ("ImagePullBackOff", "image_pull_failed", "image_pull"),
        ("InvalidImageName", "invalid_image_name", "image_pull"),
        ("CreateContainerConfigError", "create_container_config_error", FailureCategory.PLATFORM),
        ("RunContainerError", "run_container_error", FailureCategory.PLATFORM),
    ],
)
def test_a_container_that_cannot_start_is_in_trouble(reason, code, category):
    problem = problem_of(pod(waiting(reason, 'secret "s"\n not found')))
    assert problem == BuildError(code, f'{reason}: secret "s" not found', category)


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", None])
def test_a_container_that_is_about_to_start_is_not(reason):
    assert problem_of(pod(waiting(reason))) is None


def test_trouble_without_a_message_names_the_image():
    assert problem_of(pod(waiting("InvalidImageName"))).message.endswith("registry/image:1")


def test_an_init_container_counts_as_well():
    init = {"name": "init", "state": waiting("ErrImagePull", "denied")}
    stuck = pod(waiting("PodInitializing"), initContainerStatuses=[init])
    assert problem_of(stuck).code == "image_pull_failed"


def test_a_pod_that_no_node_has_room_for_says_so():
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: insufficient cpu",
    }
    problem = problem_of(pod(conditions=[condition]))
    assert problem == BuildError("unschedulable", condition["message"], FailureCategory.PLATFORM)


def test_refused_pods_are_told_by_their_newest_event_without_their_random_name():
    events = [
        refusal("old", at="2026-10-02T07:00:00Z"),
        refusal('Error creating: pods "build-x-7hgkd" is forbidden: exceeded quota: pods'),
        refusal("another's", uid="uid-2"),
    ]
    found, _ = diagnosis(Pods(warnings=events)).of_waiting(["uid-1"])
    assert found == {
        "uid-1": BuildError(
            "failed_create",
            'Error creating: pods "build-x-…" is forbidden: exceeded quota: pods',
            FailureCategory.QUOTA,
        )
    }


def test_events_of_the_newer_kind_have_their_time_in_a_series():
    events = [
        refusal("newer", at=None, series={"lastObservedTime": "2026-10-02T09:00:00.000000Z"}),
        refusal("older", at=None, eventTime="2026-10-02T08:30:00.000000Z"),
    ]
    found, _ = diagnosis(Pods(warnings=events)).of_waiting(["uid-1"])
    assert found["uid-1"].message == "newer"


def test_a_job_that_has_a_pod_by_now_was_refused_no_longer():
    pods = Pods(pending=[pod(waiting("ContainerCreating"))], warnings=[refusal("old")])
    assert diagnosis(pods).of_waiting(["uid-1"]) == ({}, set())


def test_pods_of_others_are_passed_over():
    stray = pod(waiting("ErrImagePull"), uid="uid-9")
    orphan = {"metadata": {"name": "orphan"}, "status": {}}
    assert diagnosis(Pods(pending=[stray, orphan])).of_waiting(["uid-1"]) == ({}, set())


def test_a_failure_names_container_reason_exit_code_and_last_lines():
    pods = Pods(of_job=[pod(ended(0, "Completed"), ended(137, "OOMKilled"))], log="one\ntwo\n")
    failure = diagnosis(pods).of_failed("build-x")
    assert failure.text == (
        "container container-1: OOMKilled, exit code 137; last lines of its log:\none\ntwo"
    )
    assert failure.category == "out_of_memory"
    assert pods.asked == [("build-x-abcde", "container-1", 20)]


def test_of_several_pods_the_newest_failure_counts():
    pods = Pods(of_job=[pod(ended(1), name="old"), pod(ended(2), name="new"), pod(ended(0))])
    assert "exit code 2" in diagnosis(pods).of_failed("build-x").text


def test_a_container_that_was_restarted_tells_of_its_last_end():
    again = pod({"running": {}})
    again["status"]["containerStatuses"][0]["lastState"] = ended(3)
    assert "exit code 3" in diagnosis(Pods(of_job=[again])).of_failed("build-x").text


def test_a_log_that_cannot_be_read_is_replaced_by_the_termination_message():
    error = Permanent(FailureReason.FORBIDDEN, "no")
    pods = Pods(of_job=[pod(ended(1, message="push failed"))], log=error)
    assert diagnosis(pods).of_failed("build-x").text.endswith("push failed")


def test_a_long_log_is_cut_to_its_last_four_kibibytes():
    pods = Pods(of_job=[pod(ended(1))], log="ä" * 10_000 + "the end")
    text = diagnosis(pods).of_failed("build-x").text.partition("log:\n")[2]
    assert text.endswith("the end")
    assert 4000 < len(text.encode()) <= 4096


def test_a_pod_that_was_evicted_says_so():
    evicted = pod(reason="Evicted", message="The node was low on resource: memory.")
    text = diagnosis(Pods(of_job=[evicted])).of_failed("build-x").text
    assert text == "pod build-x-abcde: Evicted: The node was low on resource: memory."


def test_without_pods_nothing_is_known():
    assert diagnosis(Pods()).of_failed("build-x") is None


def finished(**messages):
    """A pod of a Job that succeeded, with its containers' termination messages."""
    named = [
        {"name": name, "state": ended(0, "Completed", text)} for name, text in messages.items()
    ]
    main = [each for each in named if each["name"] == "push"] or named
    return {
        "metadata": {"name": "build-x-abcde", "labels": {"job-name": "build-x"}},
        "status": {
            "initContainerStatuses": [each for each in named if each not in main],
            "containerStatuses": main,
        },
    }


DIGEST, FORGED = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
KANIKO_PUSH = '{"name":"r/i:1","digest":"%s"}\n'


@pytest.mark.parametrize(
    ("messages", "digest"),
    [
        ({"push": DIGEST}, DIGEST),
        ({"push": KANIKO_PUSH % DIGEST + KANIKO_PUSH % FORGED}, DIGEST),
        ({"build": DIGEST}, DIGEST),
        ({"build": FORGED, "push": DIGEST}, DIGEST),
        # A tenant's steps run in it, where another container pushes.
        ({"build": FORGED, "push": None}, None),
        ({"build": FORGED, "push": '{"digest": "' + "[" * 5000}, None),
        ({"push": '{"digest": 1}'}, None),
        ({"push": '["' + DIGEST + '"]'}, None),
        ({"other": DIGEST}, None),
    ],
)
def test_the_digest_is_what_the_container_that_pushes_tells(messages, digest):
    assert diagnosis(Pods(of_job=[finished(**messages)])).digest_of("build-x") == digest


@pytest.mark.parametrize(
    ("name", "state", "builds"),
    [
        ("build", {"running": {}}, True),
        ("build", ended(0, "Completed"), True),
        ("build", waiting("PodInitializing"), False),
        ("fetch", {"running": {}}, False),
    ],
)
def test_a_job_whose_init_container_builds_is_told_from_one_that_waits(name, state, builds):
    init = {"name": name, "state": state}
    pending = pod(waiting("PodInitializing"), initContainerStatuses=[init])
    found, building = diagnosis(Pods(pending=[pending])).of_waiting(["uid-1"])
    assert (found, building) == ({}, {"uid-1"} if builds else set())
