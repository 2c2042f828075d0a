"""The cap on unfinished Jobs: never passed, never stuck."""

from __future__ import annotations

import queue
import threading

import pytest

from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle.cap import ActiveJobsCap
from tests.waiting import wait_until

from .conftest import NAMESPACE, quick_jobs


class Worker(threading.Thread):
    """Asks for one permit when told to, and keeps what it was answered."""

    def __init__(self, cap: ActiveJobsCap, stopping: threading.Event) -> None:
        super().__init__()
        self._cap, self._stopping = cap, stopping
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        self.answers: list[bool] = []
        self.start()

    def run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def ask(self) -> None:
        self._calls.put(lambda: self.answers.append(self._cap.may_take(self._stopping)))

    def tell_created(self, name: str, uid: str) -> None:
        done = threading.Event()
        self._calls.put(lambda: (self._cap.created(name, uid), done.set()))
        assert done.wait(5)

    def end(self) -> None:
        self._calls.put(None)
        self.join(5)


@pytest.fixture
def stopping():
    return threading.Event()


@pytest.fixture
def start_worker(stopping):
    workers = []

    def start(cap):
        workers.append(Worker(cap, stopping))
        return workers[-1]

    yield start
    stopping.set()
    for worker in workers:
        worker.end()
        assert not worker.is_alive()


@pytest.fixture
def capped(watch):
    def make(maximum, **settings):
        watcher = watch()
        cap = ActiveJobsCap(watcher, maximum, **settings)
        watcher.listen(cap.job_changed)
        wait_until(lambda: watcher.following, "the watch")
        return cap

    return make


def test_builds_wait_while_the_cap_is_reached_and_go_on_when_a_job_ends(
    cluster, builds, capped, start_worker
):
    name = builds.create().job_name
    cap = capped(1)
    worker = start_worker(cap)
    worker.ask()
    wait_until(lambda: cap.waiting == 1, "the worker to wait")
    assert worker.answers == []
    cluster.finish_job(name)
    wait_until(lambda: worker.answers == [True], "the worker to go on")
    assert cap.waiting == 0


def test_a_permit_counts_until_its_thread_asks_again(capped, start_worker):
    cap = capped(1)
    first, second = start_worker(cap), start_worker(cap)
    first.ask()
    wait_until(lambda: first.answers == [True], "the permit")
    second.ask()
    wait_until(lambda: cap.waiting == 1, "the other to wait")
    first.ask()  # found nothing to do: its permit is given anew, to it or to the other
    wait_until(lambda: len(first.answers) + len(second.answers) == 2, "one answer")
    wait_until(lambda: cap.waiting == 1, "the other to wait")


def test_a_thread_that_ends_leaves_no_permit_behind(capped, start_worker):
    cap = capped(1)
    first, second = start_worker(cap), start_worker(cap)
    first.ask()
    wait_until(lambda: first.answers == [True], "the permit")
    second.ask()
    wait_until(lambda: cap.waiting == 1, "the other to wait")
    first.end()
    wait_until(lambda: second.answers == [True], "the other to go on")


def test_a_job_that_the_watch_does_not_show_yet_counts(capped, start_worker):
    now = [1000.0]
    cap = capped(1, clock=lambda: now[0])
    first, second = start_worker(cap), start_worker(cap)
    first.ask()
    wait_until(lambda: first.answers == [True], "the permit")
    first.tell_created("build-unseen", "uid-unseen")
    second.ask()
    wait_until(lambda: cap.waiting == 1, "the other to wait")
    now[0] += 31  # the watch works and never showed it: it has come and gone
    wait_until(lambda: second.answers == [True], "the other to go on")


def test_a_job_that_was_seen_before_it_was_told_of_counts_once(
    cluster, builds, capped, start_worker
):
    cap = capped(2)
    worker, other = start_worker(cap), start_worker(cap)
    worker.ask()
    wait_until(lambda: worker.answers == [True], "the permit")
    name = builds.create().job_name
    uid = cluster.job(name)["metadata"]["uid"]
    wait_until(lambda: cap._watcher.by_name(name), "the watch to show it")
    worker.tell_created(name, uid)
    other.ask()
    wait_until(lambda: other.answers == [True], "room for one more")


def test_waiting_ends_soon_when_the_pool_stops(builds, capped, start_worker, stopping):
    builds.create()
    cap = capped(1)
    worker = start_worker(cap)
    worker.ask()
    wait_until(lambda: cap.waiting == 1, "the worker to wait")
    stopping.set()
    wait_until(lambda: worker.answers == [False], "the worker to be let go", timeout=2)


def test_without_a_cap_nobody_waits_even_before_the_watch(client, start_worker):
    cap = ActiveJobsCap(JobWatcher(client, NAMESPACE), 0)
    worker = start_worker(cap)
    worker.ask()
    wait_until(lambda: worker.answers == [True], "the worker to go on")
    worker.tell_created("name", "uid")


def test_with_a_cap_nobody_goes_before_all_jobs_are_known(client, start_worker):
    cap = ActiveJobsCap(JobWatcher(client, NAMESPACE), 5)
    worker = start_worker(cap)
    worker.ask()
    wait_until(lambda: cap.waiting == 1, "the worker to wait")


@quick_jobs
def test_many_workers_never_pass_the_cap_and_finish_everything(cluster, builds, capped, jobs):
    cap, stopping, left = capped(3), threading.Event(), queue.SimpleQueue()
    for number in range(40):
        left.put(f"id-{number}")
    most = []

    def work() -> None:
        while not left.empty() and cap.may_take(stopping):
            try:
                event_id = left.get(timeout=0.05)
            except queue.Empty:
                continue
            name = builds.create(event_id).job_name
            active = [job for job in cluster.jobs() if not job["status"].get("conditions")]
            most.append(len(active))
            cap.created(name, cluster.job(name)["metadata"]["uid"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(cluster.jobs()) == 40
    assert max(most) == 3
