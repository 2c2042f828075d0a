"""What to do about each refusal and each failed attempt: for OpenAPI, the pages and whoever asks.

Sentences in the imperative, with code in single backticks. Settings are named without their prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

from lambda_builder.errors import FailureReason, RefusalCode

REFUSALS: Mapping[RefusalCode, str] = {
    RefusalCode.INVALID_EVENT: (
        "Mend the event: it is no CloudEvent 1.0; `errors` names the attributes."
    ),
    RefusalCode.INVALID_DATA: "Mend the event's data; `errors` names the fields.",
    RefusalCode.INVALID_BATCH: "Send a JSON list of 1 to 100 events.",
    RefusalCode.INVALID_PARAMETER: "Mend the query; `errors` names the parameters.",
    RefusalCode.UNSUPPORTED_EVENT_TYPE: (
        "Send one of the types that `detail` names, or add the type to `BUILD_EVENT_TYPES`."
    ),
    RefusalCode.CONTEXT_NOT_ALLOWED: (
        "Name a context below one of `ALLOWED_CONTEXT_PREFIXES`, or leave `context_url` out."
    ),
    RefusalCode.IMAGE_NOT_ALLOWED: (
        "Name an image below one of `ALLOWED_REGISTRIES`, or leave `image` out."
    ),
    RefusalCode.BAD_REQUEST: (
        "Mend the client: this is no proper HTTP request (also 408, 414, 417 and 431)."
    ),
    RefusalCode.UNAUTHENTICATED: (
        "Show credentials of `AUTH_FILE`; `WWW-Authenticate` says of which kind."
    ),
    RefusalCode.UNSIGNED_ATTRIBUTES: (
        "Send structured or batch mode: a signature covers the body alone."
    ),
    RefusalCode.FORBIDDEN: (
        "Have a policy in `AUTH_FILE` allow it; from a browser, ask from the same origin."
    ),
    RefusalCode.READ_ONLY: "Cancel or retry elsewhere: `READ_ONLY` is set here.",
    RefusalCode.NOT_FOUND: (
        "Check the ID: no such build is known, it has expired, or you may not read it."
    ),
    RefusalCode.NO_PROVENANCE: (
        "Ask once the build has succeeded; without a digest from its Job there is none."
    ),
    RefusalCode.METHOD_NOT_ALLOWED: "Use one of the methods that `Allow` names.",
    RefusalCode.ALREADY_FINISHED: "Do nothing: the build has ended, so there is nothing to cancel.",
    RefusalCode.AMBIGUOUS: (
        "Name one of the Jobs that `detail` lists: several builds share the correlation ID."
    ),
    RefusalCode.NOT_RETRYABLE: (
        "Wait for the build's end: only a dead or failed one can be retried."
    ),
    RefusalCode.BODY_TOO_LARGE: "Send less, or raise `MAX_BODY_BYTES`.",
    RefusalCode.UNSUPPORTED_FORMAT: "Send JSON: no other structured format is read.",
    RefusalCode.TENANT_LIMIT: (
        "Send again after `Retry-After`: the tenant is over its rate or its share of the queue."
    ),
    RefusalCode.RATE_LIMIT: "Send again after `Retry-After`: all senders together are over `RATE`.",
    RefusalCode.FAILURE_BACKOFF: (
        "Mend what the last build of this parser failed for; then send again after "
        "`Retry-After`, or retry that build."
    ),
    RefusalCode.TOO_MANY_FAILURES: (
        "Mend the credentials: there were too many wrong ones from this address."
    ),
    RefusalCode.QUEUE_FULL: (
        "Send again after `Retry-After`; `QUEUE_SIZE` builds wait, or `QUEUE_MAX_BYTES` of them."
    ),
    RefusalCode.SHUTTING_DOWN: "Send again: another replica, or the next start, takes it.",
    RefusalCode.NOT_READY: (
        "Wait (`/ready` alone): it is starting, or no worker lives; the log says which."
    ),
    RefusalCode.JOURNAL_UNAVAILABLE: (
        "Send again; the journal's disk is full or broken: `detail` and the log say which."
    ),
    RefusalCode.ACK_TIMEOUT: (
        "Send again: the build goes on, and the next answer names the same Job."
    ),
    RefusalCode.TOO_MANY_WAITING: (
        "Send again; too many requests wait for Kubernetes or the disk, or too many commands for "
        "their builds."
    ),
    RefusalCode.TOO_MANY_STREAMS: (
        "Try again, or read without `follow`: `STREAMS_MAX` streams are open."
    ),
    RefusalCode.ISSUER_UNAVAILABLE: (
        "Send again; the keys that the token is checked with cannot be had."
    ),
    RefusalCode.KUBERNETES_UNAVAILABLE: (
        "Try again after `Retry-After`: the Kubernetes API does not answer."
    ),
    RefusalCode.KUBERNETES_REFUSED: (
        "Mend what `detail` says: the Kubernetes API refused it, mostly for want of rights."
    ),
    RefusalCode.BUILD_FAILED: (
        "Read the build's `error` (`ACK=created` alone): no Job could be made."
    ),
    RefusalCode.INTERNAL_ERROR: "Report it with the log line `request_crashed`: this is a defect.",
}

ATTEMPTS: Mapping[FailureReason, str] = {
    FailureReason.CONNECTION: (
        "Nothing, if the API is back: no connection to it was had. Else see to the API server "
        "and the network policy."
    ),
    FailureReason.TIMEOUT: (
        "Nothing, if it was once: the API did not answer in `KUBE_API_TIMEOUT_SECONDS`. Else "
        "look at its load."
    ),
    FailureReason.RATE_LIMITED: (
        "Nothing: the API throttles, and calls become fewer by themselves. If it lasts, lower "
        "`WORKER_COUNT_MAX`."
    ),
    FailureReason.SERVER_ERROR: (
        "Look at the API server: it answered with a 5xx. Builds are tried again."
    ),
    FailureReason.QUOTA_EXCEEDED: (
        "Raise the quota that the message names, or delete finished Jobs; the build keeps its "
        "place and costs no attempt."
    ),
    FailureReason.WEBHOOK_UNAVAILABLE: (
        "Mend the admission webhook that the message names: the API could not call it."
    ),
    FailureReason.BEING_DELETED: (
        "Nothing: the old Job of that name is still going. If it lasts, look at its finalizers."
    ),
    FailureReason.BAD_REQUEST: "Mend the Job template: the API could not read what was made of it.",
    FailureReason.UNAUTHORIZED: (
        "Renew the service's credentials: the API does not know them, read anew or not."
    ),
    FailureReason.FORBIDDEN: "Give the service's Role what the message names.",
    FailureReason.NAMESPACE_NOT_FOUND: "Make the namespace, or correct `NAMESPACE`.",
    FailureReason.INVALID_MANIFEST: (
        "Mend the Job template, or the event's data that it uses: the message names the field."
    ),
    FailureReason.WEBHOOK_DENIED: (
        "Meet the policy that the message names, in the Job template, or have it changed."
    ),
    FailureReason.NAME_CONFLICT: (
        "Delete or rename the Job of that name: it belongs to another event."
    ),
    FailureReason.API_ERROR: "Read the message: the API answered what no rule is for.",
    FailureReason.PANIC: (
        "Report it with the log line `worker_panic`: this is a defect, and it cost this build "
        "alone."
    ),
}
