"""Why a build failed, in one word: what exit codes, reasons and last log lines mean. Pure.

One table of rules for each kind of evidence, tried in order; docs/failures.rst shows them to
operators. The messages were collected from the sources that each rule names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lambda_builder.builds import FailureCategory as Category

Evidence = Literal["refused pod", "waiting container", "pod", "container", "builder", "step"]
"""Where a text comes from; ``builder`` is the builder's own last word, ``step`` what the
Dockerfile's steps wrote before it."""

_LONGEST_LINE = 2000
"""Characters of a line that are looked at; errors begin with their cause."""
_MOST_LINES = 300


@dataclass(frozen=True, slots=True)
class Rule:
    """Text of that ``evidence`` in which ``pattern`` is found means ``category``."""

    evidence: Evidence
    category: Category
    pattern: re.Pattern[str]
    meaning: str
    """In words, for docs/failures.rst."""


def _rule(evidence: Evidence, category: Category, meaning: str, *alternatives: str) -> Rule:
    return Rule(evidence, category, re.compile("|".join(alternatives), re.IGNORECASE), meaning)


# In the patterns nothing that repeats may contain another repetition: they run over what tenants
# wrote. The first rule that fits counts, so the narrow ones stand before the wide ones.
RULES: tuple[Rule, ...] = (
    # The Job controller's FailedCreate event: "Error creating: pods … is forbidden: …".
    # kubernetes: apiserver/pkg/admission/plugin/resourcequota/controller.go
    _rule("refused pod", Category.QUOTA, "a ResourceQuota has no room for the pod",
          r"exceeded quota:", r"failed quota:"),
    _rule("refused pod", Category.PLATFORM,
          "pod security, a webhook, a limit range or a missing service account refuse the pod",
          r""),

    # The kubelet's reasons for a container that waits, with containerd's message.
    # kubernetes: pkg/kubelet/images/types.go; containerd: core/remotes/docker/resolver.go
    _rule("waiting container", Category.REGISTRY_LIMIT,
          "the registry of the Job's own images lets the node pull no more for now",
          r"toomanyrequests", r"429 too many requests", r"pull rate limit"),
    _rule("waiting container", Category.IMAGE_PULL, "the node cannot pull the Job's own images",
          r"^errimagepull", r"^imagepullbackoff", r"^invalidimagename", r"^errimageneverpull",
          r"^imageinspecterror", r"^registryunavailable"),
    _rule("waiting container", Category.PLATFORM,
          "the container cannot be made: a Secret or volume that is not there, the runtime", r""),

    # status.reason and message of a pod that failed, and its condition DisruptionTarget.
    # kubernetes: pkg/kubelet/eviction/helpers.go and eviction_manager.go
    _rule("pod", Category.DISK,
          "evicted because the build, or the node, ran out of ephemeral storage",
          r"^evicted: .*ephemeral.storage", r"^evicted: .*ephemeral local storage",
          r"^evicted: .*usage of emptydir", r"^evicted: .*(?:inodes|diskpressure)"),
    # kubernetes: pkg/kubelet/eviction; pkg/scheduler/framework/preemption; pkg/controller/
    # tainteviction, podgc and nodelifecycle; pkg/kubelet/nodeshutdown
    _rule("pod", Category.EVICTED,
          "evicted, preempted, or its node went away or was shut down",
          r"^evicted", r"^preempt", r"^nodelost", r"^shutdown", r"^nodeshutdown",
          r"^terminated: pod was terminated in response to imminent node shutdown",
          r"^terminationbykubelet", r"^evictionbyevictionapi", r"^deletionbytaintmanager",
          r"^deletionbypodgc", r"^deletionbydevicetaintmanager"),
    _rule("pod", Category.TIMEOUT, "the pod's own activeDeadlineSeconds", r"^deadlineexceeded"),
    # kubernetes: pkg/kubelet/lifecycle/predicate.go
    _rule("pod", Category.PLATFORM, "the node did not take the pod",
          r"^outof", r"^nodeaffinity", r"^unexpectedadmissionerror", r"^appArmor"),

    # "reason, exit code N" of a container that ended.
    # kubernetes: the runtime's reason, containerd internal/cri/server/events.go (OOMKilled)
    _rule("container", Category.OUT_OF_MEMORY, "the container went over its memory limit",
          r"^oomkilled"),
    # containerd: internal/cri/server/container_start.go; kubernetes: pkg/kubelet/kubelet_pods.go
    _rule("container", Category.PLATFORM, "the node could not start or lost the container",
          r"^starterror", r"^containercannotrun", r"^containerstatusunknown", r"^createcontainer"),

    # The builder's last word. Kaniko: "error building image: …" and the like, cmd/executor/cmd/
    # root.go, and "Error: pushing image: …", push.go; BuildKit: "error: failed to solve: …",
    # client/solve.go; the AWS command line that fetches: "fatal error: An error occurred (404) …".
    # Registries say why by code (OCI distribution spec) or by status (go-containerregistry
    # pkg/v1/remote/transport/error.go, containerd core/remotes/errors/errors.go).
    _rule("builder", Category.REGISTRY_LIMIT, "a registry lets nobody pull or push more for now",
          r"toomanyrequests", r"429 too many requests", r"status code 429", r"pull rate limit"),
    _rule("builder", Category.DISK, "no space left where the builder works",
          r"no space left on device", r"disk quota exceeded"),
    # Go's exec.ExitError of a step that the kernel killed; BuildKit executor_linux.go: detectOOM
    _rule("builder", Category.OUT_OF_MEMORY, "a step was killed, as the kernel does for memory",
          r"signal: killed", r"exit (?:status|code:?) 137\b", r"cannot allocate memory"),
    # Kaniko: pkg/buildcontext; AWS SDK and command line. Before the registry's 403: S3 has its own.
    _rule("builder", Category.CONTEXT, "the build context is not there, or may not be read",
          r"^error resolving source context", r"unknown build context prefix",
          r"unpacking tar from build context",
          r"^fatal error: an error occurred \(", r"^fatal error: (?:unable|could not)",
          r"^download failed: s3://", r"^tar: ", r"^gzip: ",
          # BuildKit: frontend/dockerui/context.go, source/http, source/git
          r"failed to read downloaded context", r"failed to resolve httpcontext",
          r"failed to load cache key: invalid (?:response status|http status)",
          r"failed to load cache key: .*(?:git|repository)", r"failed to fetch remote ",
          r"invalid git context"),
    # Kaniko: "checking push permission", "failed to push to destination"; containerd: "push
    # access denied", "pull access denied", "insufficient_scope: authorization failed"
    _rule("builder", Category.REGISTRY_AUTH, "a registry refuses the credentials of pull or push",
          r"\bunauthorized\b", r"authentication required", r"(?<!permission )\bdenied: ",
          r"access denied", r"resource is denied", r"insufficient_scope", r"authorization failed",
          r"failed to authorize", r"no basic auth credentials",
          r"\b40[13] (?:unauthorized|forbidden)", r"unexpected status code 40[13]\b"),
    # BuildKit: examples/buildctl-daemonless, rootlesskit
    _rule("builder", Category.PLATFORM, "BuildKit's daemon does not start on the node",
          r"^could not connect to ", r"\[rootlesskit"),
    _rule("builder", Category.PLATFORM,
          "the registry cannot be reached or does not take the image",
          r"^error:? checking push permissions", r"^error:? pushing image", r"failed to push",
          # skopeo, which pushes for BuildKit: logrus' text format
          r"^time=.{0,60} level=fatal"),
    # Kaniko: cmd/executor/cmd/push.go
    _rule("builder", Category.PLATFORM, "the built image cannot be read where it is pushed from",
          r"^error: loading image"),
    # Kaniko: resolveDockerfilePath; BuildKit: frontend/dockerui/config.go, dockerfile/parser
    _rule("builder", Category.DOCKERFILE, "the Dockerfile is missing, or cannot be read",
          r"valid path to a dockerfile", r"failed to read dockerfile",
          r"reading dockerfile at path", r"parsing dockerfile", r"parse error",
          r"unknown instruction", r"expanding meta args", r"circular dependency detected",
          r"at least one from", r"no build stage in current context", r"stage that does not exist",
          r"invalid stage", r"target stage", r"unknown flag", r"requires at least one argument"),
    # Kaniko: pkg/commands/run.go ("waiting for process to exit: exit status 1"); BuildKit:
    # solver/llbsolver/ops/exec.go ("process … did not complete successfully: exit code: 1")
    _rule("builder", Category.DOCKERFILE, "a step of the Dockerfile failed",
          r"waiting for process to exit", r"did not complete successfully", r"starting command:"),
    _rule("builder", Category.DOCKERFILE, "a COPY or ADD names what is not in the context",
          r"failed to get files used from context", r"failed to get fileinfo",
          r"failed to calculate checksum of ref", r"copy failed", r"resolving src",
          r"failed to compute cache key", r"no such file or directory"),
    # Kaniko: GET …/manifests/…: MANIFEST_UNKNOWN; BuildKit: "failed to resolve source metadata"
    _rule("builder", Category.DEPENDENCY, "a base image, or what an ADD fetches, cannot be had",
          r"manifest_unknown", r"manifest unknown", r"name_unknown", r"name unknown",
          r"failed to resolve source metadata", r"unable to complete operation after",
          r"/manifests/", r"/blobs/", r"failed to do request", r"no such host", r"i/o timeout",
          r"connection refused", r"connection reset", r"tls handshake", r"x509:",
          r"context deadline exceeded", r"invalid response status", r"unexpected status",
          r"no match for platform"),

    # What a failed step wrote, for that a step failed says little. Indexes and their tools:
    # pip, npm, yarn, Go, Maven, Gradle, cargo, bundler, apt, apk, dnf, curl, wget, git.
    _rule("step", Category.DISK, "a step found no space left",
          r"no space left on device", r"\benospc\b", r"disk quota exceeded"),
    _rule("step", Category.OUT_OF_MEMORY, "a step found no memory",
          r"cannot allocate memory", r"java\.lang\.outofmemoryerror", r"heap out of memory",
          r"\bkilled$", r"signal: killed"),
    _rule("step", Category.DEPENDENCY, "a step could not get what it depends on",
          r"temporary failure (?:in name resolution|resolving)", r"could not resolve",
          r"name or service not known", r"no such host", r"bad address '",
          r"no matching distribution found", r"could not find a version that satisfies",
          r"newconnectionerror", r"read timed out", r"connection (?:timed out|refused|reset)",
          r"\b(?:etimedout|eai_again|enotfound|econnreset|econnrefused|e404)\b",
          r"npm err(?:!|or) (?:network|404)", r"couldn't find package",
          r"unable to locate package", r"failed to fetch", r"unable to fetch",
          r"no such package", r"unable to select packages",
          r"could not resolve dependencies", r"could not transfer artifact",
          r"could not find artifact", r"i/o timeout", r"tls handshake timeout",
          r"proxy\.golang\.org", r"failed to get `", r"failed to download",
          r"spurious network error", r"could not fetch specs", r"could not find gem",
          r"no package .* available", r"unable to find a match", r"cannot download",
          r"the requested url returned error", r"too many requests"),
)  # fmt: skip

_STEP_FAILED = "a step of the Dockerfile failed"
_BUILDERS_WORD = re.compile(
    r"error (?:building|pushing) image|error checking push|error resolving|error: failed to"
    r"|error: (?:checking push permissions|loading image|pushing image)"
    r"|time=.{0,60} level=fatal "
    r"|could not connect to |\[rootlesskit|download failed: s3|tar: |gzip: "
    r"|fatal error: (?:an error occurred \(|unable to locate cred|could not connect)",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"error: (?=error )", re.IGNORECASE)
"""What Kaniko's command line puts before an error of its start."""
_COMMAND, _COMMAND_END = 'process "', '" did not complete'
"""Between them BuildKit quotes the step's command, whose words are the tenant's."""
_CONTAINERS = {"fetch": Category.CONTEXT, "push": Category.PLATFORM}
"""What the failure of one of our templates' other containers means, where its words do not say."""


def category_of(evidence: Evidence, text: str) -> Category | None:
    """Return what the first rule that fits says of a text, or None."""
    found = _first_rule(evidence, text)
    return None if found is None else found.category


def category_of_end(container: str, reason: str, exit_code: int, log: str) -> Category:
    """Return why a container failed: by how it ended, then by the last lines of its log.

    For any text at all, in time that grows with its length only.
    """
    ended = category_of("container", f"{reason}, exit code {exit_code}")
    if ended is not None:
        return ended
    said = category_of_log(log)
    return said or _CONTAINERS.get(container, Category.UNKNOWN)


def last_word(log: str) -> int | None:
    """Return which line of a log, from 0, is the last in which a builder says why it failed."""
    lines = log.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        if _BUILDERS_WORD.match(_bare(lines[number])):
            return number
    return None


def category_of_log(log: str) -> Category | None:
    """Return what the last lines of a builder's log say, or None."""
    lines = [_bare(line) for line in log.splitlines()[-_MOST_LINES:]]
    for line in reversed(lines):
        if not _BUILDERS_WORD.match(line):
            continue
        found = _first_rule("builder", line)
        if found is not None and found.meaning == _STEP_FAILED:
            return _of_steps(lines) or found.category
        if found is not None:
            return found.category
    return _of_steps(lines)


def _bare(line: str) -> str:
    line = _PREFIX.sub("", line.strip(), count=1)
    before, quoted, rest = line.partition(_COMMAND)
    _, ended, after = rest.rpartition(_COMMAND_END)
    if quoted and ended:
        line = f"{before}{_COMMAND}{_COMMAND_END}{after}"
    return line[:_LONGEST_LINE]


def _of_steps(lines: Iterable[str]) -> Category | None:
    written = [line for line in lines if not _BUILDERS_WORD.match(line)]
    for line in reversed(written):
        found = category_of("step", line)
        if found is not None:
            return found
    return None


def _first_rule(evidence: Evidence, text: str) -> Rule | None:
    text = text[:_LONGEST_LINE]
    for rule in RULES:
        if rule.evidence == evidence and rule.pattern.search(text):
            return rule
    return None
