"""What is done of a build after its answer gives way to requests, and is done after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lambda_builder import precedence
from lambda_builder.devcluster import DevCluster
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.lifecycle.notifier import BuildNotifier
from lambda_builder.precedence import Precedence
from lambda_builder.wiring import PRECEDENCE
from tests.http_sink import HttpSink
from tests.integration.service.conftest import BUILT, Running
from tests.waiting import wait_until


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    receiver = HttpSink()
    yield receiver
    receiver.close()


def test_jobs_are_made_watched_and_told_of_when_no_request_is_worked_on(
    cluster: DevCluster,
    start: Callable[..., Running],
    sink: HttpSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "BURST_SECONDS", 3600.0)
    running = start(sink_url=sink.url)
    order: Precedence = running.app.extensions[PRECEDENCE]

    @contextmanager
    def answering() -> Iterator[None]:
        order.answering()
        try:
            yield
        finally:
            order.resting(waiting=False)

    with answering():
        name = running.post(1).get_json()["job_name"]
        wait_until(lambda: running.stats()["busy_workers"] == 1, "a worker that has the build")
        with pytest.raises(pytest.fail.Exception, match="waited"):
            wait_until(lambda: cluster.job(name) is not None, "a Job", 0.2)
        assert sink.types() == []
    running.wait_for(1, *BUILT)
    assert cluster.job(name) is not None
    with answering():
        cluster.finish_job(name)
        with pytest.raises(pytest.fail.Exception, match="waited"):
            wait_until(lambda: running.stats()["succeeded_total"] == 1, "the end", 0.2)
    wait_until(lambda: running.stats()["succeeded_total"] == 1, "the end")
    wait_until(lambda: "complete" in sink.types(), "the news")


def test_whoever_tells_of_jobs_stands_in_the_line_of_the_others(
    start: Callable[..., Running], sink: HttpSink
) -> None:
    running = start(sink_url=sink.url)
    told_by = [p for p in running.service._parts if isinstance(p, BuildNotifier | JobDiagnosis)]
    assert len(told_by) == 2
    for part in told_by:
        assert part._precedence is running.app.extensions[PRECEDENCE]
