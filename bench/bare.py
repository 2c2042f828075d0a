"""What creating is compared with: ``python -m bench.bare --kubeconfig PATH`` makes Jobs in a loop.

The service's threads against the same API, the manifests made beforehand and nothing else around
it, with its client, or all the way through the official one (``--official``). With ``--sink URL``
events are posted in their place, as the service posts them. Prints calls per second, and the
processor's milliseconds for each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from kubernetes.client import ApiClient

from bench import samples
from lambda_builder.builds import BuildResult, BuildState
from lambda_builder.kube.client import KubeClient
from lambda_builder.kube.credentials import load_configuration
from lambda_builder.kube.jobs import JobManager
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.outgoing.delivery import SLOTS
from lambda_builder.outgoing.exchange import Poster
from lambda_builder.outgoing.messages import build_event
from lambda_builder.settings import Settings

THREADS = 20


class Bare(NamedTuple):
    """What the calls alone take."""

    rate: float
    """Calls a second."""
    cpu_ms: float
    """Milliseconds of the processor for each."""

    @classmethod
    def creating(
        cls, kubeconfig: Path, *, first: int, count: int, officially: bool = False
    ) -> Bare:
        """Create the Jobs of builds ``first`` and so on, in a process of its own."""
        more = ("--official",) if officially else ()
        return cls._run("--kubeconfig", kubeconfig, "--first", first, "--count", count, *more)

    @classmethod
    def posting(cls, url: str, *, count: int) -> Bare:
        """Post events to a sink, in a process of its own."""
        return cls._run("--sink", url, "--count", count)

    @classmethod
    def _run(cls, *options: object) -> Bare:
        output = subprocess.run(
            [sys.executable, "-m", "bench.bare", *map(str, options)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        return cls(*map(float, output.split()))


def main() -> None:
    """Make the calls and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--kubeconfig")
    target.add_argument("--sink", metavar="URL")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--official", action="store_true", help="by the official client's HTTP")
    options = parser.parse_args()
    if options.sink:
        _post(options.sink, options.count)
        return
    configuration = partial(
        load_configuration, pool_size=THREADS, environ={"KUBECONFIG": options.kubeconfig}
    )
    settings = Settings()
    template = JobTemplate.from_settings(settings)
    numbers = range(options.first, options.first + options.count)
    manifests = [template.render(samples.request(number)) for number in numbers]
    if options.official:
        _create_officially(ApiClient(configuration()), settings.namespace, manifests)
    else:
        client = KubeClient(configuration, timeout_seconds=60)
        _measure(JobManager(client, settings.namespace).create_job, manifests, THREADS)
        client.close()


def _create_officially(client: Any, namespace: str, manifests: Sequence[Any]) -> None:
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    headers = {"Accept": "application/json", "Content-Type": "application/json"}

    def create(manifest: Any) -> None:
        method, url, sent, _, _ = client.param_serialize(
            "POST", path, header_params={**headers}, auth_settings=["BearerToken"]
        )
        answer = client.call_api(method, url, sent, manifest, _request_timeout=60)
        answer.read()
        if answer.status != HTTPStatus.CREATED:
            raise RuntimeError(answer.data)
        json.loads(answer.data)

    _measure(create, manifests, THREADS)


def _post(url: str, count: int) -> None:
    poster = Poster(SLOTS)
    result = BuildResult(
        request=samples.request(1), state=BuildState.RUNNING, job_uid="1", created_at=time.time()
    )
    event = build_event("started", result, source="bench", time=time.time(), overrides={})

    def post(_number: int) -> None:
        if problem := poster.post(url, event.headers, event.body, seconds=10):
            raise RuntimeError(problem)

    _measure(post, range(count), SLOTS)
    poster.close()


def _measure(call: Callable[[Any], object], what: Sequence[Any], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, what[:threads]))
        begun, used = time.perf_counter(), time.process_time()
        for _ in pool.map(call, what[threads:]):
            pass
        count = len(what) - threads
        rate = count / (time.perf_counter() - begun)
        print(rate, (time.process_time() - used) / count * 1e3)


if __name__ == "__main__":
    main()
