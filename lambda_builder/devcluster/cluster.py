"""DevCluster: the embedded cluster as one object with a start and an end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from lambda_builder.devcluster.faults import Fault
from lambda_builder.devcluster.kubeconfig import write_kubeconfig
from lambda_builder.devcluster.objects import JOBS, Json
from lambda_builder.devcluster.parts import Parts
from lambda_builder.devcluster.requestlog import Request

T = TypeVar("T")


class DevCluster:
    """A Kubernetes API for development and tests, on a thread of its own. Not a real cluster.

    Every method may be called from any thread. ``stop()`` is harmless twice or before
    ``start()``; a stopped cluster can still be read, but not be started again.

    ``run_seconds`` is how long a build container runs, ``pending_seconds`` how long its pod waits
    before, ``init_seconds`` how long its init containers take together, ``deletion_seconds`` how
    long a foreground deletion shows, ``bookmark_seconds`` how often a watch that asks for bookmarks
    gets one. ``job_quota`` bounds the Jobs of a namespace, ``token`` is the bearer token clients
    must show, ``history`` how many changes of Jobs a watch can go back (a fifth of it for the
    rest).
    """

    def __init__(
        self,
        port: int = 0,
        namespaces: Iterable[str] = ("knative-lambda",),
        run_seconds: float = 0.2,
        pending_seconds: float = 0.05,
        *,
        init_seconds: float = 0.0,
        job_quota: int | None = None,
        token: str | None = None,
        deletion_seconds: float = 0.2,
        bookmark_seconds: float = 5.0,
        history: int = 50_000,
        host: str = "127.0.0.1",
    ) -> None:
        names = tuple(namespaces)
        self._namespace = names[0] if names else "default"
        self._host = host
        self._wanted_port = port
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._lifecycle = threading.Lock()
        self._stopped = False
        self._parts = Parts(
            self._loop,
            host,
            names,
            run_seconds=run_seconds,
            pending_seconds=pending_seconds,
            init_seconds=init_seconds,
            job_quota=job_quota,
            token=token,
            deletion_seconds=deletion_seconds,
            bookmark_seconds=bookmark_seconds,
            history=history,
        )

    # -- lifecycle ------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen and serve; OSError where the port is taken."""
        with self._lifecycle:
            if self._thread is not None or self._stopped:
                raise RuntimeError("a DevCluster starts once")
            self._parts.listener.bind(self._wanted_port)
            self._thread = threading.Thread(
                target=self._serve, name=f"devcluster-{self.port}", daemon=True
            )
            self._thread.start()
        self._call(self._parts.listener.serve)
        return self

    def stop(self) -> None:
        """Cut every connection and end the thread."""
        with self._lifecycle:
            if self._stopped:
                return
            self._stopped = True
            thread = self._thread
            if thread is None:
                self._loop.close()
                return
            asyncio.run_coroutine_threadsafe(self._parts.end(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, call: Callable[[], T]) -> T:
        """Run on the server's thread, or here where there is none."""
        with self._lifecycle:
            thread = self._thread
            here = thread is None or self._stopped or thread is threading.current_thread()
            if not here:
                future = asyncio.run_coroutine_threadsafe(_async(call), self._loop)
        return call() if here else future.result(60)

    # -- where it is ----------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        return self._parts.listener.port

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{self._host}:{self.port}"

    def write_kubeconfig(self, path: str | Path) -> None:
        """Write a kubeconfig for the official client and kubectl, readable by its owner only."""
        write_kubeconfig(path, self.url, self._namespace, self._parts.dispatcher.token)

    # -- what it holds --------------------------------------------------------------------------

    def jobs(self, namespace: str | None = None) -> list[Json]:
        """Copies of all Jobs, in the order of their creation."""

        def collect() -> list[bytes]:
            found = self._parts.store.of(JOBS).objects.values()
            return [j.encode() for j in found if namespace in (None, j.namespace)]

        return [json.loads(job) for job in self._call(collect)]

    def job(self, name: str, namespace: str = "knative-lambda") -> Json | None:
        """A copy of one Job; None where there is no such Job."""
        found = self._call(lambda: self._parts.store.of(JOBS).get(namespace, name))
        return found.decode() if found is not None else None

    def requests(self) -> list[Request]:
        """Copies of the last 100,000 requests, newest last."""
        return self._call(self._parts.log.copies)

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._call(self._parts.log.clear)

    # -- what it does ---------------------------------------------------------------------------

    def add_fault(self, fault: Fault) -> None:
        """Have something go wrong from now on."""
        self._call(lambda: self._parts.add_fault(fault))

    def clear_faults(self) -> None:
        """Take all faults back; requests that hang are cut, Jobs held back go on."""
        self._call(self._parts.clear_faults)

    def finish_job(
        self,
        name: str,
        succeeded: bool = True,
        exit_code: int = 1,
        reason: str = "Error",
        namespace: str | None = None,
    ) -> None:
        """End a Job now, for good; KeyError where it is not there or has ended.

        ``exit_code`` and ``reason`` are the container's; reason ``DeadlineExceeded`` ends the Job
        by its deadline instead.
        """
        key = f"{namespace or self._namespace}/{name}"
        finish = self._parts.kubelet.finish
        if not self._call(lambda: finish(key, succeeded, exit_code, reason)):
            raise KeyError(name)

    def pause_kubelet(self) -> None:
        """Jobs stay as they are until ``resume_kubelet()``, which makes up for what was due."""
        self._call(self._parts.kubelet_timers.pause)

    def resume_kubelet(self) -> None:
        """Let Jobs go on after ``pause_kubelet()``."""
        self._call(self._parts.kubelet_timers.resume)

    def outage(self) -> None:
        """Refuse connections and cut those there are, until ``restore()``."""
        self._call(self._parts.listener.close)

    def restore(self) -> None:
        """Accept connections again, on the same port; OSError where another has taken it."""
        if self._thread is not None and not self._stopped:
            self._call(self._parts.listener.reopen)

    def set_token(self, token: str | None) -> None:
        """Ask for another bearer token from now on, or for none."""

        def change() -> None:
            self._parts.dispatcher.token = token

        self._call(change)


async def _async(call: Callable[[], T]) -> T:
    return call()
