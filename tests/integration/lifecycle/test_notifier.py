"""The sink hears of every build's start and end: at least once, in order, from one replica."""

from __future__ import annotations

import json
import math
import threading
from collections import defaultdict
from email.message import Message
from functools import partial

import pytest

from lambda_builder import precedence
from lambda_builder.devcluster import Fault
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import NoJournal
from lambda_builder.kube.jobs import JobManager
from lambda_builder.kube.labels import ANNOUNCED, IMAGE_DIGEST
from lambda_builder.kube.lease import Leadership
from lambda_builder.kube.pod_diagnosis import PodDiagnosis
from lambda_builder.kube.pods import PodReader
from lambda_builder.kube.watcher import JobWatcher
from lambda_builder.lifecycle import diagnosis, explanations, marks, notifier
from lambda_builder.lifecycle.diagnosis import JobDiagnosis
from lambda_builder.lifecycle.marks import JobMarks
from lambda_builder.lifecycle.notifier import BuildNotifier
from lambda_builder.lifecycle.provenance import Provenance
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.outgoing.sink import Sink
from lambda_builder.precedence import Precedence
from tests.http_sink import HttpReceiver
from tests.waiting import wait_until

from .conftest import NAMESPACE, quick_jobs

PREFIX = "network.notifi.lambda.build."


class Receiver(HttpReceiver):
    """A sink over real HTTP; remembers what it took, in order, and from whom."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str]] = []
        """Sender, Job name and news."""
        self.bodies: dict[tuple[str, str], dict] = {}
        self.status = 202
        self.posts = 0
        super().__init__()

    def take(self, headers: Message, body: bytes) -> int:
        self.posts += 1
        if self.status == 202:
            name, news = headers["ce-subject"], headers["ce-type"].removeprefix(PREFIX)
            self.taken.append((headers["ce-source"], name, news))
            self.bodies[name, news] = json.loads(body)
        return self.status

    def news(self, name: str) -> list[str]:
        return [news for _, subject, news in list(self.taken) if subject == name]

    def by_job(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for _, name, news in list(self.taken):
            found[name].append(news)
        return found


class Replica:
    """What one replica needs to tell of builds."""

    def __init__(self, name, client, url, *, window=256, precedence=None):
        jobs = JobManager(client, NAMESPACE)
        self.outbox = NoJournal().outbox
        self.watcher = JobWatcher(client, NAMESPACE)
        self.watcher.silence_seconds = 2
        self.leadership = Leadership(client, NAMESPACE, name, duration_seconds=2, renew_seconds=0.2)
        self.diagnosis = JobDiagnosis(
            self.watcher, PodDiagnosis(PodReader(client, NAMESPACE)), jobs, available=lambda: True
        )
        self.diagnosis.marks_follow = lambda: self.leadership.is_leader
        made_marks = JobMarks(
            self.watcher, jobs, available=lambda: True, also=self.diagnosis.notes_of
        )
        self.diagnosis.mark_waits = made_marks.waits
        self.notifier = BuildNotifier(
            self.watcher,
            self.leadership,
            made_marks,
            self.outbox,
            Announcer(source=name, overrides={}, sink=True, dead_letters=False),
            self.diagnosis,
            provenance=Provenance(
                jobs, lambda _request: "s3://contexts/1", builder_id="", signer=None
            ).or_none,
            window=window,
            precedence=precedence,
        )
        self.watcher.listen(self.notifier.job_changed)
        self.sink = Sink(
            self.outbox,
            {"sink": url},
            may_send=self.notifier.may_send,
            on_delivered=self.notifier.delivered,
        )

    def start(self):
        for part in (self.sink, self.watcher, self.diagnosis, self.leadership, self.notifier):
            part.start()
        wait_until(lambda: self.watcher.following, "the watch")
        return self

    def stop(self):
        for part in (self.leadership, self.notifier, self.diagnosis, self.watcher, self.sink):
            assert part.stop(8) == []


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def new_replica(client, receiver):
    made = []

    def make(name="first", *, of=client, **settings):
        made.append(Replica(name, of, receiver.url, **settings))
        return made[-1].start()

    yield make
    receiver.status = 202
    for replica in made:
        replica.stop()


@pytest.fixture
def mark_of(cluster):
    def mark(name):
        job = cluster.job(name)
        return job and job["metadata"]["annotations"].get(ANNOUNCED)

    return mark


def running(cluster, request):
    wait_until(lambda: cluster.job(request.job_name)["status"].get("ready"), "the Job to run")
    return request.job_name


def test_start_and_end_of_a_build_are_told_and_marked(
    cluster, builds, new_replica, receiver, mark_of
):
    new_replica()
    name = running(cluster, builds.create())
    wait_until(lambda: mark_of(name) == "started", "the start to be marked")
    cluster.finish_job(name)
    wait_until(lambda: mark_of(name) == "complete", "the end to be marked")
    assert receiver.news(name) == ["started", "complete"]
    started, complete = receiver.bodies[name, "started"], receiver.bodies[name, "complete"]
    assert (started["state"], started["finished_at"]) == ("running", None)
    assert (complete["state"], complete["correlation_id"]) == ("succeeded", "corr-id-1")


@pytest.mark.parametrize(
    ("reason", "news"), [("OOMKilled", "failed"), ("DeadlineExceeded", "timeout")]
)
def test_a_failure_is_told_with_what_is_known_of_it(
    cluster, builds, new_replica, receiver, reason, news
):
    new_replica()
    name = running(cluster, builds.create())
    cluster.finish_job(name, succeeded=False, exit_code=137, reason=reason)
    wait_until(lambda: news in receiver.news(name), "the news")
    assert receiver.news(name) == ["started", news]
    error = receiver.bodies[name, news]["error"]
    if news == "failed":
        assert "exit code 137; last lines of its log" in error["message"]
        assert receiver.bodies[name, news]["failure_category"] == "out_of_memory"
    else:
        assert receiver.bodies[name, news]["failure_category"] == "timeout"
        assert error["code"] == "deadline_exceeded"


def test_a_completion_is_told_with_the_digest_of_what_was_pushed(
    cluster, builds, new_replica, receiver
):
    new_replica()
    name = running(cluster, builds.create())
    cluster.finish_job(name)
    wait_until(lambda: "complete" in receiver.news(name), "the news")
    assert receiver.bodies[name, "complete"]["image_digest"].startswith("sha256:")
    assert receiver.bodies[name, "complete"]["failure_category"] is None


def asked_for(body):
    return body["provenance"]["predicate"]["buildDefinition"]["externalParameters"]


def job_reads(cluster):
    return [call for call in cluster.requests() if (call.verb, call.resource) == ("get", "jobs")]


def test_a_completion_says_what_was_asked_for_as_the_watch_showed_it(
    cluster, builds, new_replica, receiver
):
    new_replica()
    before, request = len(job_reads(cluster)), builds.create()
    name = running(cluster, request)
    wait_until(lambda: receiver.news(name) == ["started"], "the start to be told")
    cluster.finish_job(name)
    wait_until(lambda: "complete" in receiver.news(name), "the news")
    asked = asked_for(receiver.bodies[name, "complete"])
    assert asked["event"]["id"] == request.event_id
    assert asked["context"] == {"uri": "s3://contexts/1"}
    assert len(job_reads(cluster)) == before


def test_a_new_leader_asks_for_what_it_did_not_see(cluster, builds, new_replica, receiver):
    request = builds.create()
    name = running(cluster, request)
    cluster.finish_job(name)
    new_replica()
    wait_until(lambda: "complete" in receiver.news(name), "the news")
    assert asked_for(receiver.bodies[name, "complete"])["event"]["id"] == request.event_id
    assert job_reads(cluster)


@quick_jobs
def test_all_that_is_noted_of_a_short_build_takes_one_call(
    cluster, builds, new_replica, receiver, mark_of, monkeypatch
):
    monkeypatch.setattr(marks, "_START_SECONDS", 60.0)
    monkeypatch.setattr(diagnosis, "_NOTE_SECONDS", 60.0)
    new_replica()
    name = builds.create().job_name
    wait_until(lambda: mark_of(name) == "complete", "the end to be marked")
    assert receiver.news(name) == ["started", "complete"]
    assert cluster.job(name)["metadata"]["annotations"][IMAGE_DIGEST].startswith("sha256:")
    calls = [call for call in cluster.requests() if (call.verb, call.resource) == ("patch", "jobs")]
    assert len(calls) == 1


def test_a_digest_is_noted_also_where_the_sink_does_not_take_the_end(
    cluster, builds, new_replica, receiver, mark_of
):
    receiver.status = 503
    new_replica()
    name = running(cluster, builds.create())
    cluster.finish_job(name)
    annotations = lambda: cluster.job(name)["metadata"]["annotations"]  # noqa: E731
    wait_until(lambda: IMAGE_DIGEST in annotations(), "the digest to be noted")
    assert ANNOUNCED not in annotations()


def test_a_digest_that_waits_to_be_noted_is_noted_at_the_end(
    cluster, builds, new_replica, receiver, monkeypatch
):
    monkeypatch.setattr(diagnosis, "_NOTE_SECONDS", 60.0)
    receiver.status = 503
    replica = new_replica()
    name = running(cluster, builds.create())
    cluster.finish_job(name)
    wait_until(lambda: replica.diagnosis._unnoted, "the digest to be found")
    assert IMAGE_DIGEST not in cluster.job(name)["metadata"]["annotations"]
    assert replica.diagnosis.stop(8) == []
    assert IMAGE_DIGEST in cluster.job(name)["metadata"]["annotations"]


def test_an_end_that_nobody_explains_holds_up_no_other_news_and_is_told_in_the_end(
    monkeypatch, cluster, builds, jobs, new_replica, receiver
):
    monkeypatch.setattr(explanations, "_LONGEST_SECONDS", 2.5)
    new_replica()
    failed, good, gone = (running(cluster, builds.create(f"id-{number}")) for number in range(3))
    wait_until(lambda: all(map(receiver.news, (failed, good, gone))), "the starts")
    cluster.add_fault(Fault("hang", resource="pods"))
    cluster.finish_job(failed, succeeded=False, exit_code=1)
    wait_until(lambda: [r for r in cluster.requests() if r.resource == "pods"], "the question")
    cluster.finish_job(good)
    jobs.delete_job(gone)
    wait_until(lambda: "cancelled" in receiver.news(gone), "the other's news", timeout=2)
    assert receiver.news(failed) == receiver.news(good) == ["started"]
    wait_until(lambda: "failed" in receiver.news(failed), "the failure to be told", timeout=4)
    wait_until(lambda: "complete" in receiver.news(good), "the success to be told", timeout=4)
    assert receiver.bodies[good, "complete"]["image_digest"] is None


def test_of_many_ends_that_wait_none_is_looked_at_for_the_news_of_others(
    request, monkeypatch, cluster, builds, connect, new_replica, receiver
):
    monkeypatch.setattr(explanations, "_MOST", 2)
    monkeypatch.setattr(marks, "_START_SECONDS", 3600.0)  # a mark makes a Job looked at, too
    replica = new_replica(of=connect(60.0))
    ended = [running(cluster, builds.create(f"id-{number}")) for number in range(12)]
    wait_until(lambda: all(map(receiver.news, ended)), "the starts")
    cluster.add_fault(Fault("hang", resource="pods"))
    request.addfinalizer(cluster.clear_faults)
    for name in ended:
        cluster.finish_job(name, succeeded=False, exit_code=1)
    held = replica.notifier._explanations
    wait_until(lambda: len(held._held) + len(held._queued) == 12, "all of them to be held")
    looked_at = []
    by_name = replica.watcher.by_name

    def look(name):
        if threading.current_thread().name == "build-notifier":
            looked_at.append(name)
        return by_name(name)

    monkeypatch.setattr(replica.watcher, "by_name", look)
    others = [running(cluster, builds.create(f"other-{number}")) for number in range(5)]
    wait_until(lambda: all(map(receiver.news, others)), "the news of the others")
    assert {*looked_at} == {*others}
    cluster.clear_faults()
    wait_until(lambda: all("failed" in receiver.news(name) for name in ended), "the ends", 30)


def test_requests_come_before_news(monkeypatch, cluster, builds, new_replica, receiver):
    monkeypatch.setattr(precedence, "BURST_SECONDS", 3600.0)
    monkeypatch.setattr(precedence, "STUCK_SECONDS", 3600.0)
    order = Precedence()
    new_replica(precedence=order)
    order.answering()
    name = running(cluster, builds.create())
    wait_until(order._line.locked, "the news to stand in line")
    assert receiver.news(name) == []
    order.resting(waiting=False)
    wait_until(lambda: receiver.news(name) == ["started"], "the news")


@pytest.mark.parametrize("where", ["holds", "news"])
def test_news_that_could_not_be_made_is_told_later(
    monkeypatch, cluster, builds, new_replica, receiver, where
):
    replica = new_replica()
    notified = replica.notifier
    of = notified._explanations if where == "holds" else notified._announcer
    method, failures = getattr(of, where), [RuntimeError("no")]

    def fail_once(*args, **kwargs):
        if failures:
            raise failures.pop()
        return method(*args, **kwargs)

    monkeypatch.setattr(of, where, fail_once)
    name = running(cluster, builds.create())
    wait_until(lambda: receiver.news(name) == ["started"], "the news")
    assert not failures


def test_jobs_that_were_held_are_looked_at_before_others(monkeypatch, client, receiver):
    notified = Replica("first", client, receiver.url).notifier
    notified._due.update({"uid-new": "new"})
    held, looked_at = {"uid-1": "first", "uid-2": "second"}, []

    def tell_next():
        looked_at.append(notified._due.popitem(last=False)[0])
        return True

    monkeypatch.setattr(notified._explanations, "over", lambda: held)
    monkeypatch.setattr(notified, "_tell_next", tell_next)
    notified._tell_due()
    assert looked_at == ["uid-1", "uid-2", "uid-new"]


def test_a_job_deleted_before_its_end_is_told_as_cancelled(
    cluster, builds, jobs, new_replica, receiver
):
    new_replica()
    name = running(cluster, builds.create())
    jobs.delete_job(name)
    wait_until(lambda: "cancelled" in receiver.news(name), "the news")
    assert receiver.news(name) == ["started", "cancelled"]
    assert receiver.bodies[name, "cancelled"]["error"]["code"] == "cancelled"


def test_a_job_deleted_before_it_ran_has_not_started(cluster, builds, jobs, new_replica, receiver):
    cluster.add_fault(Fault("refuse_pods"))
    replica = new_replica()
    name = builds.create().job_name
    wait_until(lambda: replica.watcher.by_name(name), "the Job")
    jobs.delete_job(name)
    wait_until(lambda: receiver.news(name), "the news")
    assert receiver.news(name) == ["cancelled"]


def test_after_a_restart_what_was_not_told_is_told_and_what_was_is_not(
    cluster, builds, new_replica, receiver, mark_of
):
    first = new_replica("first")
    told, untold = running(cluster, builds.create("id-1")), running(cluster, builds.create("id-2"))
    cluster.finish_job(told)
    wait_until(lambda: mark_of(told) == "complete", "the end to be marked")
    wait_until(lambda: mark_of(untold) == "started", "the start to be marked")
    first.stop()
    cluster.finish_job(untold)
    unseen = running(cluster, builds.create("id-3"))
    cluster.finish_job(unseen)
    new_replica("second")
    wait_until(lambda: mark_of(untold) == mark_of(unseen) == "complete", "the ends to be marked")
    assert receiver.news(told) == ["started", "complete"]
    assert receiver.news(untold) == ["started", "complete"]
    assert receiver.news(unseen) == ["started", "complete"]


def test_only_the_leader_tells(cluster, builds, new_replica, receiver, mark_of):
    first = new_replica("first")
    wait_until(lambda: first.leadership.is_leader, "the first to lead")
    new_replica("second")
    names = [running(cluster, builds.create(f"id-{number}")) for number in range(10)]
    for name in names:
        cluster.finish_job(name)
    wait_until(lambda: {mark_of(name) for name in names} == {"complete"}, "all to be marked")
    assert {sender for sender, _, _ in receiver.taken} == {"first"}
    assert all(receiver.news(name) == ["started", "complete"] for name in names)


def test_marks_that_take_long_hold_up_no_news(cluster, builds, new_replica, receiver, mark_of):
    new_replica()
    names = [running(cluster, builds.create(f"id-{number}")) for number in range(10)]
    wait_until(lambda: all(receiver.news(name) == ["started"] for name in names), "the starts")
    cluster.add_fault(Fault("latency", verb="patch", resource="jobs", seconds=1.0))
    for name in names:
        cluster.finish_job(name)
    wait_until(lambda: all("complete" in receiver.news(name) for name in names), "the ends")
    assert sum(mark_of(name) == "complete" for name in names) < 6


@quick_jobs
def test_a_note_waits_as_long_as_the_mark_that_takes_it_along(
    cluster, builds, new_replica, receiver, mark_of, monkeypatch
):
    monkeypatch.setattr(marks, "_START_SECONDS", 60.0)
    monkeypatch.setattr(marks, "_GAP_SECONDS", 1.0)
    monkeypatch.setattr(diagnosis, "_NOTE_SECONDS", 1.0)
    new_replica()
    names = [builds.create(f"id-{number}").job_name for number in range(4)]
    wait_until(lambda: all(mark_of(name) == "complete" for name in names), "the marks")
    for name in names:
        assert cluster.job(name)["metadata"]["annotations"][IMAGE_DIGEST].startswith("sha256:")
    calls = [call for call in cluster.requests() if (call.verb, call.resource) == ("patch", "jobs")]
    assert len(calls) == len(names)


def test_nothing_is_marked_before_the_sink_has_taken_it(
    cluster, builds, new_replica, receiver, mark_of
):
    receiver.status = 503
    replica = new_replica()
    name = running(cluster, builds.create())
    cluster.finish_job(name)
    wait_until(lambda: replica.outbox.pending("sink") == 2, "the news to be on its way")
    assert mark_of(name) is None
    receiver.status = 202
    wait_until(lambda: mark_of(name) == "complete", "the end to be marked")
    assert receiver.news(name) == ["started", "complete"]


def test_a_sink_that_is_away_holds_no_more_than_the_window(
    cluster, builds, new_replica, receiver, mark_of
):
    receiver.status = 503
    replica = new_replica(window=4)
    names = [running(cluster, builds.create(f"id-{number}")) for number in range(12)]
    for name in names:
        cluster.finish_job(name)
    wait_until(lambda: replica.outbox.pending("sink") >= 4, "the news to be on its way")
    wait_until(lambda: replica.watcher.active_count == 0, "all ends to be seen")
    assert replica.outbox.pending("sink") <= 4 + 1  # a Job's two messages leave together
    receiver.status = 202
    wait_until(lambda: {mark_of(name) for name in names} == {"complete"}, "all to be marked",
               timeout=30)  # fmt: skip
    assert all(receiver.news(name) == ["started", "complete"] for name in names)


def test_marks_that_fail_are_written_later_and_nothing_is_told_twice(
    cluster, builds, new_replica, receiver, mark_of
):
    new_replica()
    cluster.add_fault(Fault("status", verb="patch", resource="jobs", status=500, times=1))
    cluster.add_fault(Fault("cut_after", verb="patch", resource="jobs", times=1))
    name = running(cluster, builds.create())
    wait_until(lambda: mark_of(name) == "started", "the start to be marked")
    cluster.finish_job(name)
    wait_until(lambda: mark_of(name) == "complete", "the end to be marked", timeout=20)
    assert receiver.news(name) == ["started", "complete"]


def test_a_leader_that_hangs_falls_silent_and_the_next_tells_what_it_did_not(
    cluster, builds, connect, jobs, new_replica, receiver, mark_of, road
):
    first = new_replica("first", of=connect(host=road.host))
    wait_until(lambda: first.leadership.is_leader, "the first to lead")
    second = new_replica("second")
    done, deleted = (running(cluster, builds.create(f"id-{n}")) for n in range(2))
    wait_until(lambda: mark_of(done) == mark_of(deleted) == "started", "the starts to be marked")
    road.freeze()
    cluster.finish_job(done)
    jobs.delete_job(deleted)
    wait_until(lambda: mark_of(done) == "complete", "the end to be marked", timeout=20)
    wait_until(lambda: "cancelled" in receiver.news(deleted), "the deletion to be told")
    assert second.leadership.is_leader
    assert receiver.news(done) == ["started", "complete"]
    assert receiver.news(deleted) == ["started", "cancelled"]
    assert [sender for sender, _, news in receiver.taken if news != "started"] == ["second"] * 2
    road.thaw()


def test_what_is_on_its_way_does_not_leave_once_the_lease_may_have_passed(
    cluster, builds, new_replica, receiver
):
    receiver.status = 503
    first = new_replica("first")
    running(cluster, builds.create())
    wait_until(lambda: first.outbox.pending("sink"), "the news to be on its way")
    assert first.notifier.stop(5) == []  # nobody is left to take it back
    first.leadership.resign()
    tries = lambda: first.outbox.due(math.inf, 1, "sink")[0].attempts  # noqa: E731
    last = tries()
    wait_until(lambda: tries() > last, "a try that may have begun before")
    receiver.status, posts, last = 202, receiver.posts, tries()
    wait_until(lambda: tries() > last, "another try")
    assert receiver.posts == posts
    assert receiver.taken == []


def test_a_leader_that_steps_down_takes_back_what_was_not_delivered(
    cluster, builds, new_replica, receiver, mark_of
):
    receiver.status = 503
    first = new_replica("first")
    wait_until(lambda: first.leadership.is_leader, "the first to lead")
    second = new_replica("second")
    name = running(cluster, builds.create())
    cluster.finish_job(name)
    wait_until(lambda: first.outbox.pending("sink") == 2, "the news to be on its way")
    assert first.leadership.stop(5) == []
    wait_until(lambda: first.outbox.pending("sink") == 0, "the news to be taken back")
    receiver.status = 202
    wait_until(lambda: mark_of(name) == "complete", "the end to be marked", timeout=20)
    assert second.leadership.is_leader
    assert {sender for sender, _, _ in receiver.taken} == {"second"}
    assert receiver.news(name) == ["started", "complete"]


def test_what_was_taken_back_does_not_leave_though_the_sink_holds_it_already(
    cluster, builds, new_replica, receiver
):
    receiver.status = 503
    replica = new_replica("first")
    name = running(cluster, builds.create())
    wait_until(lambda: replica.outbox.pending("sink"), "the news to be on its way")
    (held,) = replica.outbox.due(math.inf, 10, "sink")
    assert replica.leadership.stop(5) == []
    wait_until(lambda: replica.outbox.pending("sink") == 0, "the news to be taken back")
    assert not replica.notifier.may_send(held.id)
    assert replica.notifier.may_send("sink-accepted-here")
    assert receiver.news(name) == []


def test_of_deleted_jobs_that_nobody_could_be_told_of_few_are_remembered_and_none_is_forgotten(
    monkeypatch, cluster, builds, jobs, new_replica, receiver
):
    monkeypatch.setattr(notifier, "_GONE_MAX", 5)
    receiver.status = 503
    replica = new_replica(window=4)
    names = [running(cluster, builds.create(f"id-{number}")) for number in range(30)]
    for name in names:
        jobs.delete_job(name)
    wait_until(lambda: replica.watcher.records() == [], "the deletions to be seen")
    remembered = replica.notifier._gone
    wait_until(lambda: len(remembered) <= 5, lambda: f"{len(remembered)} to become fewer")
    receiver.status = 202
    told = lambda: {name: receiver.news(name) for name in names}  # noqa: E731
    everything = {name: ["started", "cancelled"] for name in names}
    wait_until(lambda: told() == everything, lambda: f"all to be told, not {told()}", timeout=40)
    wait_until(lambda: replica.outbox.pending("sink") == 0, "the outbox to be empty")
    telling = replica.notifier
    kept = (remembered, telling._announced, telling._furthest, telling._sent)
    wait_until(lambda: not any(kept), lambda: f"nothing to be kept, not {kept}")


@quick_jobs
def test_over_changes_of_leader_every_build_is_told_of_in_order(
    cluster, builds, new_replica, receiver, mark_of
):
    names: list[str] = []

    def mostly_marked(count: int) -> bool:
        return sum(mark_of(name) is not None for name in names) > count // 2

    for round_number in range(4):
        replica = new_replica(f"replica-{round_number}")
        names += [builds.create(f"id-{round_number}-{number}").job_name for number in range(50)]
        wait_until(partial(getattr, replica.leadership, "is_leader"), "it to lead", timeout=20)
        wait_until(partial(mostly_marked, len(names)), "a part to be told", timeout=30)
        if round_number < 3:
            assert replica.leadership.stop(5) == []
    wait_until(lambda: {mark_of(name) for name in names} == {"complete"}, "all to be marked",
               timeout=60)  # fmt: skip
    for name, news in receiver.by_job().items():
        first_of_each = sorted(set(news), key=news.index)
        assert first_of_each == ["started", "complete"], name
    assert set(receiver.by_job()) == set(names)


def test_news_that_the_outbox_cannot_take_yet_are_told_as_soon_as_it_can(
    cluster, builds, new_replica, receiver, mark_of, monkeypatch, capsys
):
    replica = new_replica(window=4)
    put, refused = replica.outbox.put, []

    def refuse(messages, *, durable=False):
        refused.append(messages)
        raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "journal is not open yet")

    monkeypatch.setattr(replica.outbox, "put", refuse)
    names = [running(cluster, builds.create(f"id-{number}")) for number in range(6)]
    for name in names:
        cluster.finish_job(name)
    wait_until(lambda: replica.watcher.active_count == 0, "all ends to be seen")
    wait_until(lambda: len(refused) > 6, "each to be tried")
    monkeypatch.setattr(replica.outbox, "put", put)
    wait_until(lambda: {mark_of(name) for name in names} == {"complete"}, "all to be marked",
               timeout=30)  # fmt: skip
    assert all(receiver.news(name) == ["started", "complete"] for name in names)
    assert capsys.readouterr().out.count("build_news_not_sent") == 1
