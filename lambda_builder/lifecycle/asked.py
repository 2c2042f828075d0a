"""Asked: what ended builds were asked for, as their Jobs say it, until it was told of them."""

from __future__ import annotations

from lambda_builder.kube.labels import EVENT_HASH_LABEL, REQUEST
from lambda_builder.kube.status import Job, event_hash_of

_MAX_CHARACTERS = 8 * 2**20


class Asked:
    """Parts of Jobs by uid, as the watch showed them last; used under its owner's lock.

    Beyond some 8 MiB of notes it keeps no more: the API can be asked for those.
    """

    def __init__(self, *, most: int = _MAX_CHARACTERS) -> None:
        self._most = most
        self._characters = 0
        self._jobs: dict[str, Job] = {}

    def keep(self, job: Job) -> None:
        """Keep of a Job what ``with_what_was_asked`` reads."""
        metadata = job["metadata"]
        uid, note = metadata["uid"], (metadata.get("annotations") or {}).get(REQUEST, "")
        self.take(uid)
        if not note or self._characters + len(note) > self._most:
            return
        self._characters += len(note)
        self._jobs[uid] = {
            "metadata": {
                "name": metadata["name"],
                "uid": uid,
                "labels": {EVENT_HASH_LABEL: event_hash_of(job)},
                "annotations": {REQUEST: note},
            }
        }

    def take(self, uid: str) -> Job | None:
        """Return what is kept of a Job, and keep it no longer."""
        job = self._jobs.pop(uid, None)
        if job is not None:
            self._characters -= len(job["metadata"]["annotations"][REQUEST])
        return job

    def clear(self) -> None:
        """Keep nothing."""
        self._jobs.clear()
        self._characters = 0
