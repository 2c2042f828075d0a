"""What builders, registries and nodes say when a build fails, and what that is in one word.

The messages are as their sources format them: Kaniko 1.28 and BuildKit 0.29 with the registry
clients they contain, the kubelet of Kubernetes 1.36 and containerd 2.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_builder.builds import FailureCategory
from lambda_builder.kube.failures import (
    RULES,
    category_of,
    category_of_end,
    category_of_log,
    last_word,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "failures.rst"
MANIFESTS = "https://index.docker.io/v2/library/nope/manifests/1"
UPLOADS = "https://registry.example/v2/app/blobs/uploads/"
HUB_LIMIT = "You have reached your unauthenticated pull rate limit. https://www.docker.com/incre"
SHELL = 'process "/bin/sh -c {}" did not complete successfully: '

KANIKO = [
    ("context", "Error: error resolving source context: operation error S3: GetObject, https "
     "response error StatusCode: 404, RequestID: 1, HostID: 2, NoSuchKey: "),
    ("context", "Error: error resolving source context: operation error S3: GetObject, https "
     "response error StatusCode: 403, RequestID: 1, HostID: 2, api error AccessDenied: Access "
     "Denied"),
    ("context", "Error: error resolving source context: unknown build context prefix provided, "
     "please use one of the following: gs://, dir://, tar://, s3://, git://, https://"),
    ("context", "Error: error resolving source context: HTTPSTar bad status from server: 404"),
    ("dockerfile", "Error: error resolving dockerfile path: please provide a valid path to a "
     "Dockerfile within the build context with --dockerfile"),
    ("dockerfile", "error building image: parsing dockerfile: dockerfile parse error on line 3: "
     "unknown instruction: RUM"),
    ("dockerfile", "error building image: error building stage: failed to execute command: "
     "waiting for process to exit: exit status 1"),
    ("dockerfile", "error building image: error building stage: failed to get files used from "
     "context: failed to get fileinfo for /kaniko/buildcontext/app: lstat /kaniko/buildcontext/"
     "app: no such file or directory"),
    ("dockerfile", "error building image: COPY --from=3 refers to a stage that does not exist"),
    ("registry_auth", "error checking push permissions: checking push permission for "
     f'"registry.example/app:1": POST {UPLOADS}: UNAUTHORIZED: authentication required; []'),
    ("registry_auth", "error pushing image: failed to push to destination registry.example/app:1:"
     f" POST {UPLOADS}: unexpected status code 403 Forbidden"),
    ("registry_auth", "error pushing image: failed to push to destination gcr.io/p/app:1: HEAD "
     'https://gcr.io/v2/p/app/blobs/x: DENIED: Permission "artifactregistry.uploadArtifacts" '
     "denied on resource"),
    ("registry_auth", f"error building image: GET {MANIFESTS}: UNAUTHORIZED: authentication "
     "required; [map[Action:pull Class: Name:library/nope Type:repository]]"),
    ("registry_limit", f"error building image: GET {MANIFESTS}: TOOMANYREQUESTS: {HUB_LIMIT}"),
    ("registry_limit", "error pushing image: failed to push to destination registry.example/app:1:"
     f" PATCH {UPLOADS}: unexpected status code 429 Too Many Requests"),
    ("platform", "error pushing image: failed to push to destination registry.example/app:1: Put "
     f'"{UPLOADS}": dial tcp 10.0.0.1:443: connect: connection refused'),
    ("platform", "error pushing image: failed to push to destination registry.example/app:1: PUT "
     "https://registry.example/v2/app/manifests/1: TAG_INVALID: The image tag '1' already exists "
     "and cannot be overwritten because the tag is immutable."),
    ("dependency", "error building image: unable to complete operation after 3 attempts, last "
     f"error: GET {MANIFESTS}: MANIFEST_UNKNOWN: manifest unknown; unknown tag=1"),
    ("dependency", 'error building image: Get "https://index.docker.io/v2/": dial tcp: lookup '
     "index.docker.io on 10.96.0.10:53: no such host"),
    ("disk", "error building image: error building stage: failed to get filesystem from image: "
     "write /usr/lib/libLLVM.so: no space left on device"),
    ("out_of_memory", "error building image: error building stage: failed to execute command: "
     "waiting for process to exit: signal: killed"),
    ("out_of_memory", "error building image: error building stage: failed to execute command: "
     "waiting for process to exit: exit status 137"),
]  # fmt: skip

BUILDKIT = [
    ("dockerfile", "error: failed to solve: failed to read dockerfile: open Dockerfile: no such "
     "file or directory"),
    ("dockerfile", "error: failed to solve: dockerfile parse error on line 3: unknown instruction: "
     "RUM (did you mean RUN?)"),
    ("dockerfile", f"error: failed to solve: {SHELL.format('make')}exit code: 2"),
    ("dockerfile", f"error: failed to solve: {SHELL.format('echo 401 unauthorized; false')}exit "
     "code: 1"),
    ("dockerfile", "error: failed to solve: failed to compute cache key: failed to calculate "
     'checksum of ref 8x1f::q2: "/app": not found'),
    ("out_of_memory", f"error: failed to solve: {SHELL.format('make')}exit code: 137"),
    ("out_of_memory", f"error: failed to solve: {SHELL.format('make')}cannot allocate memory"),
    ("disk", "error: failed to solve: failed to prepare extraction snapshot: write /x: no space "
     "left on device"),
    ("context", "error: failed to solve: failed to load cache key: invalid response status 404"),
    ("context", "error: failed to solve: failed to read downloaded context: failed to load cache "
     "key: invalid response status 403"),
    ("context", "error: failed to solve: failed to load cache key: failed to fetch remote "
     "https://git.example/app.git: exit status 128"),
    ("dependency", "error: failed to solve: docker.io/library/nope:1: failed to resolve source "
     "metadata for docker.io/library/nope:1: docker.io/library/nope:1: not found"),
    ("dependency", "error: failed to solve: alpine: failed to resolve source metadata for "
     "docker.io/library/alpine:latest: failed to do request: Head "
     '"https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host'),
    ("registry_auth", "error: failed to solve: docker.io/x/nope:1: failed to resolve source "
     "metadata for docker.io/x/nope:1: pull access denied, repository does not exist or may "
     "require authorization: server message: insufficient_scope: authorization failed"),
    ("registry_auth", "error: failed to solve: failed to push registry.example/app:1: failed to "
     "authorize: failed to fetch oauth token: unexpected status from POST request to "
     "https://registry.example/token: 401 Unauthorized"),
    ("registry_limit", "error: failed to solve: alpine: failed to resolve source metadata for "
     "docker.io/library/alpine:latest: failed to copy: httpReadSeeker: failed open: unexpected "
     "status from GET request to https://registry-1.docker.io/v2/library/alpine/manifests/x: 429 "
     f"Too Many Requests\ntoomanyrequests: {HUB_LIMIT}"),
    ("platform", "error: failed to solve: failed to push registry.example/app:1: failed to do "
     'request: Head "https://registry.example/v2/app/blobs/x": EOF'),
    ("platform", "could not connect to unix:///run/user/1000/buildkit/buildkitd.sock after 10 "
     "trials\n========== log ==========\n[rootlesskit:parent] error: failed to setup UID/GID map: "
     "newuidmap 43 [0 1000 1] failed: Operation not permitted"),
    ("context", "fatal error: An error occurred (404) when calling the HeadObject operation: Key "
     '"build-context/x/context.tar.gz" does not exist'),
    ("context", "fatal error: An error occurred (403) when calling the HeadObject operation: "
     "Forbidden"),
]  # fmt: skip

STEPS = [
    ("dependency", "npm error code E404"),
    ("dependency", "npm ERR! network request to https://registry.npmjs.org/x failed, ETIMEDOUT"),
    ("dependency", "ERROR: No matching distribution found for nope==9"),
    ("dependency", "WARNING: Retrying (Retry(total=0)) after NewConnectionError('<pip._vendor"),
    ("dependency", "E: Unable to locate package nope"),
    ("dependency", "E: Failed to fetch http://deb.debian.org/x.deb  404  Not Found [IP: 1.2.3.4]"),
    ("dependency", "curl: (6) Could not resolve host: pypi.example"),
    ("dependency", 'go: example.com/x@v1: Get "https://proxy.golang.org/x": dial tcp: i/o timeout'),
    ("dependency", "[ERROR] Could not resolve dependencies for project a:b:jar:1"),
    ("disk", "OSError: [Errno 28] No space left on device"),
    ("out_of_memory", "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of "
     "memory"),
    ("dockerfile", "AssertionError: 1 != 2"),
]  # fmt: skip

PODS = [
    ("disk", "Evicted: Pod ephemeral local storage usage exceeds the total limit of containers "
     "10Gi. "),
    ("disk", "Evicted: Container build exceeded its local ephemeral storage limit \"10Gi\". "),
    ("disk", 'Evicted: Usage of EmptyDir volume "workspace" exceeds the limit "1Gi". '),
    ("disk", "Evicted: The node was low on resource: ephemeral-storage. Threshold quantity: 1, "
     "available: 0Ki. "),
    ("evicted", "Evicted: The node was low on resource: memory. Threshold quantity: 100Mi, "
     "available: 80Mi. "),
    ("evicted", "Terminated: Pod was terminated in response to imminent node shutdown."),
    ("evicted", "PreemptionByScheduler: default-scheduler: preempting to accommodate a higher "
     "priority pod"),
    ("evicted", "DeletionByTaintManager: Taint manager: deleting due to NoExecute taint"),
    ("evicted", "NodeLost: Node which was running pod x is unresponsive"),
    ("timeout", "DeadlineExceeded: Pod was active on the node longer than the specified deadline"),
    ("platform", "UnexpectedAdmissionError: Allocate failed due to no healthy devices present"),
    ("platform", "OutOfcpu: Node didn't have enough resource: cpu"),
]  # fmt: skip

PULL = 'ErrImagePull: failed to pull and unpack image "x": failed to resolve reference "x": '
WAITING = [
    ("image_pull", f"{PULL}docker.io/library/x:1: not found"),
    ("image_pull", f"{PULL}pull access denied, repository does not exist or may require "
     "authorization: authorization failed: no basic auth credentials"),
    ("image_pull", 'ImagePullBackOff: Back-off pulling image "x"'),
    ("registry_limit", f"{PULL}unexpected status from HEAD request to https://x/v2/: 429 Too Many "
     "Requests"),
    ("platform", 'CreateContainerConfigError: secret "push" not found'),
]  # fmt: skip

REFUSED = [
    ("quota", 'Error creating: pods "x" is forbidden: exceeded quota: small, requested: pods=1, '
     "used: pods=5, limited: pods=5"),
    ("platform", 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest"'),
    ("platform", 'Error creating: pods "x" is forbidden: error looking up service account'),
    ("platform", 'Error creating: admission webhook "x.example" denied the request: no'),
]  # fmt: skip

NOISE = "INFO[0001] Taking snapshot of full filesystem...\n"
USAGE = "\nUsage:\n  executor [flags]\n" + "      --a-flag string   Set it\n" * 120


@pytest.mark.parametrize(("category", "said"), KANIKO)
def test_kanikos_last_word_has_its_category(category: str, said: str) -> None:
    assert category_of_log(f"{NOISE * 5}{said}\n") == category


def test_kanikos_last_word_counts_also_before_all_its_options() -> None:
    said = KANIKO[0][1]
    log = f"{NOISE}{said}\n{USAGE}"
    assert category_of_log(log) == "context"
    assert last_word(log) == 1


@pytest.mark.parametrize(("category", "said"), BUILDKIT)
def test_buildkits_last_word_has_its_category(category: str, said: str) -> None:
    assert category_of_log(f"#5 [2/3] RUN make\n#5 0.1 a line\n{said}\n") == category


@pytest.mark.parametrize(("category", "written"), STEPS)
def test_a_step_that_failed_has_the_category_of_what_it_wrote(category: str, written: str) -> None:
    assert category_of_log(f"{written}\n{NOISE}{KANIKO[6][1]}\n") == category
    assert category_of_log(f"#7 1.2 {written}\n------\n{BUILDKIT[2][1]}\n") == category


@pytest.mark.parametrize(("category", "said"), PODS)
def test_what_ended_a_pod_from_outside_has_its_category(category: str, said: str) -> None:
    assert category_of("pod", said) == category


@pytest.mark.parametrize(("category", "said"), WAITING)
def test_a_container_that_cannot_start_has_its_category(category: str, said: str) -> None:
    assert category_of("waiting container", said) == category


@pytest.mark.parametrize(("category", "said"), REFUSED)
def test_pods_that_are_refused_have_their_category(category: str, said: str) -> None:
    assert category_of("refused pod", said) == category


@pytest.mark.parametrize(
    ("container", "reason", "code", "log", "category"),
    [
        ("build", "OOMKilled", 137, KANIKO[6][1], "out_of_memory"),
        ("build", "StartError", 128, "", "platform"),
        ("build", "ContainerStatusUnknown", 137, "", "platform"),
        ("build", "Error", 1, "", "unknown"),
        ("build", "Error", 137, "", "unknown"),
        ("fetch", "Error", 1, "what is this", "context"),
        ("push", "Error", 1, "what is this", "platform"),
        ("push", "Error", 1, KANIKO[9][1], "registry_auth"),
    ],
)
def test_how_a_container_ended_counts_before_what_it_wrote(
    container: str, reason: str, code: int, log: str, category: str
) -> None:
    assert category_of_end(container, reason, code, log) == category


def test_what_a_step_prints_does_not_pass_for_a_builders_word() -> None:
    step = "echo error pushing image: UNAUTHORIZED"
    assert category_of_log(f"{step}\n{KANIKO[6][1]}") == "dockerfile"


@settings(deadline=None)
@given(log=st.binary(max_size=5000), container=st.text(max_size=10), code=st.integers(0, 255))
def test_no_bytes_in_a_log_raise(log: bytes, container: str, code: int) -> None:
    text = log.decode("utf-8", "replace")
    assert isinstance(category_of_end(container, text[:20], code, text), FailureCategory)


_PIECES = sorted(
    {piece for rule in RULES for piece in re.findall(r"[a-z]{3,}[a-z :/]*", rule.pattern.pattern)}
    | {'process "', '" did not complete', "error building image: ", "error: failed to solve: "}
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4), st.integers(1, 16))
def test_a_log_of_64_kibibytes_costs_no_more_than_a_moment_whatever_is_in_it(
    pieces: list[str], lines: int
) -> None:
    line = "error building image: " + "".join(pieces) * (65_536 // lines // 12)
    log = "\n".join([line[: 65_536 // lines]] * lines)
    began = time.thread_time()
    category_of_end("build", "Error", 1, log)
    assert time.thread_time() - began < 0.25


def test_no_pattern_repeats_what_repeats() -> None:
    for rule in RULES:
        assert not re.search(r"[*+}]\)?[*+{]", rule.pattern.pattern), rule.pattern.pattern
        assert rule.pattern.pattern.count("*") <= rule.pattern.pattern.count("|") + 1


def test_every_category_has_a_rule_and_the_page_shows_every_rule_with_what_to_do() -> None:
    page = PAGE.read_text()
    rows = re.findall(r"^   \* - ``(\w+)``\n     - (.+)\n     - (.+)$", page, re.MULTILINE)
    assert [(category, evidence) for category, evidence, _ in rows] == [
        (rule.category.value, rule.evidence) for rule in RULES
    ]
    for (_, _, shown), rule in zip(rows, RULES, strict=True):
        assert shown == rule.meaning
    to_do = dict(re.findall(r"^``(\w+)``\n((?:  .+\n)+)", page, re.MULTILINE))
    assert list(to_do) == [category.value for category in FailureCategory]
    ruled = {rule.category for rule in RULES}
    assert set(FailureCategory) - ruled == {FailureCategory.UNKNOWN}


@pytest.mark.parametrize(
    ("last", "category"),
    [
        (
            "Error: pushing image: failed to push to destination r/i:1: UNAUTHORIZED: no",
            "registry_auth",
        ),
        ("Error: checking push permissions: r: no such host", "platform"),
        ("Error: loading image: the build left no file image.tar", "platform"),
    ],
)
def test_the_words_of_kanikos_push_are_understood_before_its_list_of_options(last, category):
    log = f"INFO[0000] Pushing image to r/i:1\n{last}\nUsage:\n  executor push <path> [flags]\n"
    assert category_of_end("push", "Error", 1, log) == category
