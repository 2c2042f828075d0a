"""The contract of everything that starts and stops."""

from __future__ import annotations

import threading
import time
from functools import partial

from lambda_builder.threads import Background, repeating, stop_all
from tests.waiting import wait_until


def test_a_thread_runs_once_however_often_it_is_started() -> None:
    runs: list[int] = []
    background = Background("once", lambda stopping: (runs.append(1), stopping.wait(10)))
    starters = [threading.Thread(target=background.start) for _ in range(8)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(10)
    wait_until(lambda: runs, "the run")
    assert background.stop(10) == []
    background.start()
    assert background.stop(10) == []
    assert runs == [1]


def test_what_was_stopped_before_its_start_never_starts() -> None:
    runs: list[int] = []
    background = Background("never", lambda _stopping: runs.append(1))
    assert background.stop(1) == []
    background.start()
    assert background.stop(1) == []
    assert runs == []


def test_starts_and_stops_at_the_same_moment_leave_no_thread_behind() -> None:
    for _ in range(100):
        background = Background("raced", lambda stopping: stopping.wait(10))
        gate = threading.Barrier(4)

        def race(action: object, gate: threading.Barrier = gate) -> None:
            gate.wait(10)
            action()  # type: ignore[operator]

        calls = [background.start, background.start, partial(background.stop, 10)]
        racers = [threading.Thread(target=race, args=(call,)) for call in calls]
        for racer in racers:
            racer.start()
        gate.wait(10)
        for racer in racers:
            racer.join(10)
        assert background.stop(10) == []


def test_a_thread_may_stop_itself() -> None:
    answers: list[list[str]] = []
    background = Background("itself", lambda _stopping: answers.append(background.stop(10)))
    background.start()
    wait_until(lambda: answers, "the stop to return")
    assert answers == [["itself"]]
    assert background.stop(10) == []


def test_whoever_does_not_end_is_named_and_all_together_wait_for_one_deadline() -> None:
    let_go = threading.Event()
    stuck = [Background(f"stuck-{n}", lambda _: let_go.wait(30)) for n in range(4)]
    obliging = Background("obliging", lambda stopping: stopping.wait(30))
    for each in (*stuck, obliging):
        each.start()
    began = time.monotonic()
    assert stop_all([*stuck, obliging], 0.5) == [f"stuck-{n}" for n in range(4)]
    assert time.monotonic() - began < 1.5
    let_go.set()
    assert stop_all(stuck, 10) == []


def test_a_second_stop_does_not_wait_for_the_first() -> None:
    let_go = threading.Event()
    stuck = Background("stuck", lambda _: let_go.wait(30))
    stuck.start()
    patient = threading.Thread(target=stuck.stop, args=(20,))
    patient.start()
    wait_until(stuck.stopping.is_set, "the first stop")
    assert stuck.stop(0.05) == ["stuck"]
    let_go.set()
    patient.join(10)
    assert not patient.is_alive()


def test_an_action_that_fails_is_repeated_all_the_same() -> None:
    calls: list[int] = []

    def action() -> None:
        calls.append(1)
        raise RuntimeError("this round goes wrong")

    again = repeating("again", 0.001, action, at_once=True)
    again.start()
    wait_until(lambda: len(calls) > 3, "more calls")
    assert again.stop(10) == []
