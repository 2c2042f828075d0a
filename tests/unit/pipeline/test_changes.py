"""The last changes of builds, numbered."""

from __future__ import annotations

import json
import threading

from lambda_builder.builds import BuildError, BuildState, FailureCategory
from lambda_builder.pipeline import changes as module
from lambda_builder.pipeline.changes import ChangeFeed
from lambda_builder.pipeline.results import ResultStore
from tests.journals import make_result
from tests.waiting import wait_until


def test_changes_come_in_order_from_any_number_on():
    feed = ChangeFeed()
    for number in range(3):
        feed.note(make_result(number))
    assert feed.number == 3
    [(second, _), (third, text)] = feed.after(1, 0)
    assert (second, third) == (2, 3)
    request = make_result(2).request
    assert json.loads(text) == {
        "job_name": request.job_name,
        "state": "created",
        "correlation_id": request.correlation_id,
        "third_party_id": request.third_party_id,
        "parser_id": request.parser_id,
        "failure_category": None,
    }
    assert feed.after(3, 0) == []


def test_what_is_not_known_any_more_or_never_was_is_told_as_such(monkeypatch):
    feed = ChangeFeed()
    for number in range(module._KEPT + 2):
        feed.note(make_result(number))
    assert feed.after(1, 0) is None
    assert len(feed.after(2, 0)) == module._KEPT
    assert feed.after(feed.number + 1, 0) is None


def test_whoever_waits_is_told_at_once():
    feed, told = ChangeFeed(), []
    thread = threading.Thread(target=lambda: told.extend(feed.after(0, 30)))
    thread.start()
    wait_until(lambda: feed._waiting)
    error = BuildError("x", "y", FailureCategory.DISK)
    feed.note(make_result(1, BuildState.FAILED, error=error))
    thread.join(5)
    assert [json.loads(text)["failure_category"] for _, text in told] == ["disk"]


def test_what_one_is_told_of_does_not_end_the_gathering_of_another(monkeypatch):
    monkeypatch.setattr(module, "_GATHER_SECONDS", 30)
    feed, told = ChangeFeed(), {"first": [], "second": []}
    followers = [
        threading.Thread(target=lambda n=number, name=name: told[name].extend(feed.after(n, 30)))
        for number, name in enumerate(told)
    ]
    for number, follower in enumerate(followers):
        follower.start()
        wait_until(lambda: feed._waiting)
        feed.note(make_result(number))
        wait_until(lambda: not feed._waiting)
    feed.note(make_result(2))
    feed._gathered.set()
    for follower in followers:
        follower.join(5)
    numbers = {name: [number for number, _ in changes] for name, changes in told.items()}
    assert numbers == {"first": [1, 2, 3], "second": [2, 3]}


def test_whoever_is_behind_gathers_too_and_is_not_told_of_each_change_by_itself(monkeypatch):
    monkeypatch.setattr(module, "_GATHER_SECONDS", 30)
    feed = ChangeFeed()
    feed.note(make_result(0))
    told: list[tuple[int, str]] = []
    follower = threading.Thread(target=lambda: told.extend(feed.after(0, 30)))
    follower.start()
    feed.note(make_result(1))
    feed._gathered.set()
    follower.join(5)
    assert [number for number, _ in told] == [1, 2]


def test_the_store_of_results_tells_of_every_change_of_a_build():
    feed = ChangeFeed()
    store = ResultStore(ttl_seconds=60, maximum=10, changed=feed.note)
    store.put(make_result(1, BuildState.QUEUED))
    assert store.add(make_result(1)) is False
    key = make_result(1).request.event_hash
    store.change(key, lambda old: old.but(state=BuildState.RUNNING))
    store.change(key, lambda old: old)
    store.put(make_result(1, BuildState.SUCCEEDED))
    states = [json.loads(text)["state"] for _, text in feed.after(0, 0)]
    assert states == ["queued", "running", "succeeded"]
