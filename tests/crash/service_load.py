"""Records the journal of the real service: gunicorn under strace, asked over HTTP.

The embedded cluster makes the Jobs. What was asked for and answered is noted with its time, and put
among what strace saw by that.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.crash.answers import KEEP_MAX, SOURCE
from tests.crash.loads import only_these, replayed
from tests.crash.opening import NAME
from tests.crash.recording import Recording, recorded, traced
from tests.processes import BUILD_TYPE, ClusterProcess, ServiceProcess
from tests.waiting import wait_until

_SERVICE = Path(__file__).with_name("service.py")
_CANCEL_TYPE = "network.notifi.lambda.build.cancel"
_SENDERS = 4


class RecordedService(ServiceProcess):
    """The service under strace; ``kill`` spares strace, so that it can write all it saw."""

    def __init__(self, cluster: ClusterProcess, place: Path, strace: Sequence[str]) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=place))
        self.trace = place / "trace"
        self._options = (*only_these(self.directory), *strace)
        super().__init__(
            cluster.kubeconfig,
            place,
            journal_path=self.directory / NAME,
            result_max=KEEP_MAX,
            kube_api_timeout_seconds=1,
            retry_base_seconds=0.05,
            dead_letter_url="http://127.0.0.1:9/",  # nobody listens: letters stay
        )

    def start(self, *, ready: bool = True, flags: Sequence[str] = ()) -> None:
        """Start the service; with the flag ``next`` it migrates the journal."""
        command = [sys.executable, str(_SERVICE), *flags]
        self.command = traced(command, self.trace, *self._options)
        super().start(ready=ready)

    def signal(self, number: int) -> None:
        """Send a signal to gunicorn's master."""
        (master,) = psutil.Process(self.process.pid).children()
        master.send_signal(number)

    def kill(self) -> None:
        """Kill -9 the service, and see strace end."""
        if self.process is not None and self.process.poll() is None:
            for process in psutil.Process(self.process.pid).children(recursive=True):
                process.kill()
            self.process.wait(10)


class Load:
    """What clients ask for, several at a time."""

    def __init__(self, service: ServiceProcess, cluster: ClusterProcess, seed: int) -> None:
        self.notes: list[tuple[float, list[Any]]] = []
        self._service = service
        self._cluster = cluster
        self._lots = random.Random(seed)
        self._numbers = itertools.count()
        self._requests = itertools.count()
        self._names: dict[int, str] = {}

    def builds(self, singles: int, batches: int) -> list[int]:
        """Send events one by one and in batches, some twice; returns those that were accepted."""
        groups = [[next(self._numbers)] for _ in range(singles)]
        groups += [[next(self._numbers) for _ in range(3)] for _ in range(batches)]
        self._lots.shuffle(groups)
        groups += [[group[0]] for group in groups[:3]]
        self._together(lambda group: self._send(group, self._lots.choice((0, 0, 5000))), groups)
        return [number for group in groups[:-3] for number in group if number in self._names]

    def cancels(self, numbers: Sequence[int]) -> None:
        """Send cancel events."""
        self._together(self._cancel, numbers)

    def deletes(self, numbers: Sequence[int]) -> None:
        """Take builds back."""
        self._together(self._delete, numbers)

    def dead(self, count: int) -> list[int]:
        """Send events for which no Job may be made; returns them once they are dead."""
        fault = {"verb": "create", "resource": "jobs", "status": 403, "message": "no"}
        self._cluster.add_fault("status", **fault)
        numbers = self.builds(count, 0)
        self.ended()
        self._cluster.clear_faults()
        return numbers

    def retries(self, numbers: Sequence[int]) -> None:
        """Let builds go again."""
        self._together(self._retry, numbers)

    def ended(self) -> None:
        """Wait until every build has an outcome, and note that."""
        wait_until(
            lambda: (stats := self._service.stats())["queue_size"] == stats["busy_workers"] == 0,
            "the builds to end",
            30,
            every=0.05,
        )
        self.notes.append((time.time(), ["ended", list(self._names)]))

    def _together(self, ask: Callable[[Any], None], things: Sequence[Any]) -> None:
        with ThreadPoolExecutor(_SENDERS) as pool:
            list(pool.map(ask, things))

    def _send(self, numbers: Sequence[int], size: int) -> None:
        events = [_event(number, BUILD_TYPE, padding="x" * size) for number in numbers]
        answer = self._ask("event", numbers, "/events", events if len(events) > 1 else events[0])
        if answer is not None and answer.status_code == 200:
            body = answer.json()
            for number, found in zip(numbers, body.get("results", [body]), strict=True):
                self._names[number] = found["job_name"]

    def _cancel(self, number: int) -> None:
        event = _event(f"cancel-{number}", _CANCEL_TYPE, job_name=self._names[number])
        self._ask("cancel", [number], "/events", event)

    def _retry(self, number: int) -> None:
        self._ask("retry", [number], f"/async-jobs/{self._names[number]}/retry", None)

    def _delete(self, number: int) -> None:
        path = f"/async-jobs/{self._names[number]}"
        self._ask("delete", [number], path, None, method="DELETE")

    def _ask(
        self,
        operation: str,
        numbers: Sequence[int],
        path: str,
        body: Any,
        *,
        method: str = "POST",
    ) -> requests.Response | None:
        kind = "cloudevents-batch" if isinstance(body, list) else "cloudevents"
        request = next(self._requests)
        self.notes.append((time.time(), ["asked", request, operation, list(numbers)]))
        try:
            answer = requests.request(
                method,
                f"{self._service.url}{path}",
                data=json.dumps(body),
                headers={"Content-Type": f"application/{kind}+json"},
                timeout=20,
            )
        except requests.RequestException:
            return None  # killed: nobody knows
        self.notes.append((time.time(), ["answered", request, answer.status_code]))
        return answer


def _event(event_id: int | str, kind: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(event_id),
        "source": SOURCE,
        "type": kind,
        "data": {"parser_id": f"parser-{event_id}", **data},
    }


def record_service(place: Path, seed: int, *, kills: int, strace: Sequence[str] = ()) -> Recording:
    """Record a service that is killed so often, and at last one that migrates its file and ends."""
    if (kept := replayed()) is not None:
        return kept
    with ClusterProcess(place, "--run-seconds", "0.1", "--pending-seconds", "0.02") as cluster:
        service = RecordedService(cluster, place, strace)
        load = Load(service, cluster, seed)
        try:
            for _ in range(kills):
                service.start()
                _work(load, cluster)
                service.kill()
            service.start(flags=["next"])
            load.builds(4, 1)
            load.ended()
            service.terminate()
        finally:
            service.kill()
        return recorded(service.directory, {}, service.trace, load.notes)


def _work(load: Load, cluster: ClusterProcess) -> None:
    """What leaves builds of every kind behind."""
    load.builds(12, 2)
    load.ended()
    load.retries(load.dead(4))
    load.ended()
    cluster.add_fault("hang", verb="create", resource="jobs")
    waiting = load.builds(14, 2)
    load.cancels(waiting[-6:-3])
    load.deletes(waiting[-3:])
    cluster.clear_faults()
