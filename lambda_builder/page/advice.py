"""What to do about a failure, in a few words; docs/failures.rst has more. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lambda_builder.builds import BuildResult, BuildState, FailureCategory
from lambda_builder.errors import FailureReason

BY_CATEGORY: Mapping[FailureCategory, str] = {
    FailureCategory.DOCKERFILE: (
        "Mend the Dockerfile or the code that its steps build, then send the event again: to "
        "build it unchanged does not help. The log has the failed step."
    ),
    FailureCategory.CONTEXT: (
        "Put the archive at context_url before the event is sent, and let the credentials in "
        "build-context-credentials read it. Then retry."
    ),
    FailureCategory.REGISTRY_AUTH: (
        "Renew REGISTRY_SECRET and see that it may push to the repository, which some "
        "registries want made first; PULL_SECRET for a base image. Then retry."
    ),
    FailureCategory.REGISTRY_LIMIT: (
        "Wait, then retry. For good: pull with an account, or through a mirror of one's own."
    ),
    FailureCategory.IMAGE_PULL: (
        "The builder's own image cannot be pulled: see kubectl describe pod for its name, its "
        "pull secret and the node's way to the registry."
    ),
    FailureCategory.OUT_OF_MEMORY: (
        "Raise the memory limit in the Job template, or let the step use less, as with fewer "
        "parallel jobs. Then retry."
    ),
    FailureCategory.DISK: (
        "Raise the ephemeral-storage limit in the Job template or the size of its volumes; give"
        " the nodes more disk if those fill up. Then retry."
    ),
    FailureCategory.TIMEOUT: (
        "Raise activeDeadlineSeconds in the Job template, or see in the log what hung. Then retry."
    ),
    FailureCategory.EVICTED: (
        "Retry. If it happens often: requests nearer to what builds use, or a priority class."
    ),
    FailureCategory.QUOTA: (
        "See kubectl describe quota in the build namespace. The Job runs as soon as there is "
        "room for its pod."
    ),
    FailureCategory.DEPENDENCY: (
        "Retry: most often an index was away. If it stays so, the image or package does not "
        "exist in that version, or the network policy does not let the build out."
    ),
    FailureCategory.PLATFORM: (
        "The cluster's operators have to mend it: see kubectl describe job and pod for pod "
        "security, a missing Secret or service account, or nodes without room."
    ),
    FailureCategory.UNKNOWN: ("Read the log: it says nothing that is known here."),
}
"""Of a Job that failed, or does not run."""

BY_CODE: Mapping[str, str] = {
    FailureReason.CONNECTION: ("The Kubernetes API did not answer this request alone. Retry."),
    FailureReason.TIMEOUT: ("The Kubernetes API took too long for this request. Retry."),
    FailureReason.RATE_LIMITED: ("The Kubernetes API asked for fewer requests. Retry later."),
    FailureReason.SERVER_ERROR: ("The Kubernetes API failed. Retry; if it stays so, see its log."),
    FailureReason.QUOTA_EXCEEDED: (
        "The build waits for its namespace's quota: see kubectl describe quota, raise it or let"
        " Jobs end."
    ),
    FailureReason.WEBHOOK_UNAVAILABLE: (
        "An admission webhook of the cluster is away: bring it back, then retry."
    ),
    FailureReason.BEING_DELETED: ("The Job of that name was still being deleted. Retry."),
    FailureReason.BAD_REQUEST: (
        "The Kubernetes API could not read the Job: mend the Job template."
    ),
    FailureReason.UNAUTHORIZED: (
        "Kubernetes does not know the service: renew its service account's token, then retry."
    ),
    FailureReason.FORBIDDEN: ("The service may not make Jobs there: see its Role, then retry."),
    FailureReason.NAMESPACE_NOT_FOUND: ("Make the build namespace, then retry."),
    FailureReason.INVALID_MANIFEST: (
        "Kubernetes refused the Job: mend the Job template or the event's fields that it uses."
    ),
    FailureReason.WEBHOOK_DENIED: (
        "A policy of the cluster refused the Job: change the Job template or the policy, then "
        "retry."
    ),
    FailureReason.NAME_CONFLICT: ("Another event's Job has the name: delete that Job, then retry."),
    FailureReason.API_ERROR: ("Kubernetes answered in a way that is not known. See the log."),
    FailureReason.PANIC: (
        "An error of lambda-builder itself: the log has its traceback. Please report it; retry "
        "once it is mended."
    ),
    "shutdown": "The service stopped before the Job was made. Retry.",
}
"""Of a build that no Job could be made for."""


def advice(build: BuildResult) -> str | None:
    """Return what to do about a build that failed, cannot run or cannot be made."""
    error = build.error
    if error is None or build.state is BuildState.CANCELLED:
        return None
    known = BY_CATEGORY[error.category] if error.category else BY_CODE.get(error.code)
    return known or (BY_CATEGORY[FailureCategory.UNKNOWN] if build.state.retryable else None)
