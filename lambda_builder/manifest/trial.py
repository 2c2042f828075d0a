"""TemplateTrial: the Job template is tried against the API at boot, and a refusal is shown.

A dry run goes through the schema, the quota and every admission webhook, and creates nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from lambda_builder.errors import Permanent, Transient
from lambda_builder.kube.jobs import JobManager
from lambda_builder.threads import repeating

_AGAIN_SECONDS = 5.0


class TemplateTrial:
    """Tries the template once the API answers, then no more; starts and stops as ``Background``."""

    def __init__(
        self, sample: Callable[[], dict[str, Any]], jobs: JobManager, available: Callable[[], bool]
    ) -> None:
        self._sample = sample
        self._jobs = jobs
        self._available = available
        self._over = False
        self._again = repeating("template-trial", _AGAIN_SECONDS, self.run, at_once=True)

    def start(self) -> None:
        """Try in the background."""
        self._again.start()

    def stop(self, timeout: float) -> list[str]:
        """End the thread; returns its name if it is still alive after ``timeout`` seconds."""
        return self._again.stop(timeout)

    def run(self) -> None:
        """Try once, unless that was done or the API is away; log the API's own words."""
        if self._over or not self._available():
            return
        log = structlog.get_logger()
        try:
            sample = self._sample()
            kept = self._jobs.dry_run(sample)
        except Permanent as refusal:
            log.error("template_refused", reason=refusal.reason.value, error=str(refusal))
        except Transient as error:
            log.info("template_not_tried", error=str(error))
            return
        else:
            log.info("template_tried")
            if kept is not None and _of_pod(sample, "hostUsers") != _of_pod(kept, "hostUsers"):
                # Kubernetes without the feature drops the field, and says nothing.
                log.warning("user_namespaces_dropped")
        self._over = True


def _of_pod(job: dict[str, Any], field: str) -> Any:
    return job["spec"]["template"]["spec"].get(field)
