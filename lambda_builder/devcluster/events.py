"""Core events, as the simulated controllers record them."""

from __future__ import annotations

import time
import uuid
from collections import deque

from lambda_builder.devcluster.admission import plain_object
from lambda_builder.devcluster.objects import EVENTS, Obj, timestamp
from lambda_builder.devcluster.store import Store


class EventRecorder:
    """Records events; the oldest go when there are more than ``limit``."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._recorded: deque[tuple[str, str]] = deque()

    def record(self, about: Obj, type: str, reason: str, message: str, component: str) -> Obj:
        """Record a new event about an object."""
        now = timestamp()
        name = f"{about.name}.{time.time_ns():x}"
        event = plain_object(
            EVENTS,
            {
                "metadata": {
                    "name": name,
                    "namespace": about.namespace,
                    "uid": str(uuid.uuid4()),
                    "creationTimestamp": now,
                },
                "involvedObject": {
                    "kind": about.resource.kind,
                    "namespace": about.namespace,
                    "name": about.name,
                    "uid": about.uid,
                    "apiVersion": about.resource.api_version,
                    "resourceVersion": str(about.rv),
                },
                "reason": reason,
                "message": message,
                "source": {"component": component},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "type": type,
                "eventTime": None,
                "reportingComponent": component,
                "reportingInstance": "",
            },
        )
        event = self._store.put(event)
        self._recorded.append((event.namespace, event.name))
        if len(self._recorded) > self._limit:
            oldest = self._store.of(EVENTS).get(*self._recorded.popleft())
            if oldest is not None:
                self._store.remove(oldest)
        return event

    def again(self, event: Obj) -> None:
        """Count an event once more, as the real recorder does with one that repeats."""
        stored = self._store.of(EVENTS).get(event.namespace, event.name)
        if stored is not None:
            value = stored.decode()
            value["count"] += 1
            value["lastTimestamp"] = timestamp()
            self._store.put(plain_object(EVENTS, value))
