"""Provenance: which event an image came from, as a statement that can be checked.

An in-toto Statement v1 (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) with
SLSA's predicate v1 (https://slsa.dev/spec/v1.1/provenance), made by the service, which no tenant's
steps reach, from the Job as the API has it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from lambda_builder import __version__
from lambda_builder.builds import BuildRequest, BuildResult, BuildState, rfc3339
from lambda_builder.errors import AttemptFailed
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.status import Job, event_hash_of, with_what_was_asked
from lambda_builder.lifecycle.signing import PREDICATE_TYPE, STATEMENT_TYPE

if TYPE_CHECKING:
    from lambda_builder.lifecycle.dsse import Signer

BUILD_TYPE = "urn:lambda-builder:build:v1"
"""What the external parameters mean: docs/provenance.rst."""
_UNNAMED_BUILDER = "urn:lambda-builder"

Document = dict[str, Any]


class Provenance:
    """Makes statements; immutable and thread-safe, asks the API for Jobs."""

    def __init__(
        self,
        jobs: JobManager,
        context_url: Callable[[BuildRequest], str],
        *,
        builder_id: str,
        signer: Signer | None,
    ) -> None:
        """``context_url`` tells what a build was made of; without ``signer`` nothing is signed."""
        self._jobs = jobs
        self._context_url = context_url
        self._builder_id = builder_id or _UNNAMED_BUILDER
        self._signer = signer

    def of(self, result: BuildResult, job: Job | None = None) -> Document | None:
        """Return the statement of a build, signed where there is a key, or None.

        There is one of a build that succeeded with a digest, as long as it is known what was asked
        for: by this replica, or by the Job, which the API is asked for unless ``job`` is what it
        says of it. Raises as ``JobManager.get_job``.
        """
        if result.state is not BuildState.SUCCEEDED or not result.image_digest:
            return None
        known = result if result.request.event else self._by_job(result, job)
        if known is None:
            return None
        statement = self._statement(known)
        if self._signer is None:
            return statement
        text = json.dumps(statement, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return self._signer.envelope(text.encode("utf-8", "replace"))

    def or_none(self, result: BuildResult, job: Job | None = None) -> Document | None:
        """Return the same; None where the API does not tell, which is logged."""
        try:
            return self.of(result, job)
        except AttemptFailed as error:
            name = result.request.job_name
            structlog.get_logger().warning("no_provenance", job_name=name, error=str(error))
            return None

    def _by_job(self, result: BuildResult, job: Job | None) -> BuildResult | None:
        job = job or self._jobs.get_job(result.request.job_name)
        if job is None or job["metadata"].get("uid") != result.job_uid:
            return None
        if event_hash_of(job) != result.request.event_hash[: len(event_hash_of(job))]:
            return None
        known = with_what_was_asked(result, job)
        return known if known.request.event else None

    def _statement(self, result: BuildResult) -> Document:
        name, _, digest = str(result.image_digest).partition(":")
        return {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": result.image or "", "digest": {name: digest}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": self._parameters(result),
                    "internalParameters": {"namespace": result.namespace or ""},
                    "resolvedDependencies": [],
                },
                "runDetails": {
                    "builder": {
                        "id": self._builder_id,
                        "version": {"lambda-builder": __version__},
                    },
                    "metadata": {
                        "invocationId": result.job_uid or "",
                        "startedOn": rfc3339(result.started_at),
                        "finishedOn": rfc3339(result.finished_at),
                    },
                },
            },
        }

    def _parameters(self, result: BuildResult) -> Document:
        request = result.request
        return {
            "event": {
                "source": request.event_source,
                "id": request.event_id,
                "type": request.event_type,
            },
            "thirdPartyId": request.third_party_id,
            "parserId": request.parser_id,
            "context": _context(self._context_url(request)),
            "image": result.image or "",
            # Values may be secrets, which a statement is no place for.
            "buildArguments": {
                name: {"sha256": _sha256(value)} for name, value in request.build_args.items()
            },
        }


def _context(url: str) -> Document:
    """Return where a context came from; of a URL that is signed, or names a user, the digest."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        shown = parts._replace(netloc=host, query="").geturl()
    except ValueError:
        shown = ""
    context: Document = {"uri": shown}
    if shown != url:
        context["uriSha256"] = _sha256(url)
    return context


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
