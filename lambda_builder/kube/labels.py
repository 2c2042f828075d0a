"""Names of the labels and annotations on our Jobs, and values that a label can hold."""

from __future__ import annotations

import re

from lambda_builder.builds import Mark, fields_marked, netstring_digest

PREFIX = "build.notifi.network/"
NAME_LABEL = "app.kubernetes.io/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
APP = "lambda-builder"
"""Value of both."""
ANNOTATIONS = {field: f"{PREFIX}{field.replace('_', '-')}" for field in fields_marked(Mark.JOB)}
"""Where the Job notes each field of its build, as it is."""
THIRD_PARTY_ID = ANNOTATIONS["third_party_id"]
"""As a label the safe form of the id."""
PARSER_ID = ANNOTATIONS["parser_id"]
"""As a label the safe form of the id."""
EVENT_HASH_LABEL = f"{PREFIX}event-hash"
CORRELATION_HASH_LABEL = f"{PREFIX}correlation-hash"
REQUEST = f"{PREFIX}request"
"""What was asked for, as JSON, so that any replica can build it again."""
ANNOUNCED = f"{PREFIX}announced"
"""The last news of the Job that was delivered: ``started``, ``complete``, and so on."""
BUILDING = f"{PREFIX}building"
"""That an init container builds, which a Job's status does not show: ``true``."""
FAILURE_CATEGORY = f"{PREFIX}failure-category"
"""Why the Job failed, once that was found out, so that every replica knows it."""
IMAGE_DIGEST = f"{PREFIX}image-digest"
"""The digest of the image that the Job pushed, once it was read from its pod."""
KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
OUR_JOBS = f"{MANAGED_BY_LABEL}={APP}"
"""Label selector of every Job of ours."""

_HASH_DIGITS = 32
_SAFE_LENGTH = 50
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_AN_END = "._-"


def safe(value: str) -> str:
    """Return ``value`` as a label value, an image tag or a path segment can hold it.

    At most 50 characters, first and last a letter or digit, runs of others than
    ``[A-Za-z0-9._-]`` one dash; nothing left is ``x``.
    """
    cleaned = _UNSAFE.sub("-", value).lstrip(_NOT_AN_END)
    return cleaned[:_SAFE_LENGTH].rstrip(_NOT_AN_END) or "x"


def event_hash_label(event_hash: str) -> str:
    """Return the label's value for the identity of an event."""
    return event_hash[:_HASH_DIGITS]


def correlation_hash_label(correlation_id: str) -> str:
    """Return the label's value for a correlation ID, which may be longer than a label."""
    return netstring_digest(correlation_id)[:_HASH_DIGITS]
