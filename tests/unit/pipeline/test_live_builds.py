"""Who decides what becomes of a build that waits, and that only one does."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from tests.journals import make_request, make_result


def build(number: int = 1, **flags: Any) -> Build:
    return Build(make_request(number), **flags)


def test_a_build_is_found_by_event_and_target_until_it_is_dropped() -> None:
    live, first, second = LiveBuilds(), build(1), build(2)  # of the same target
    live.add([first, second])
    assert first.entered
    assert live.get(first.request.event_hash) is first
    assert live.get("nobody's") is None

    live.drop(first)
    assert first.settled
    assert live.get(first.request.event_hash) is None
    assert live.has_target("customer-1", "parser-1")
    live.drop(second)
    assert not live.has_target("customer-1", "parser-1")
    live.drop(second)
    assert not live.has_target("customer-1", "parser-1")


def test_a_target_is_both_ids() -> None:
    live = LiveBuilds()
    live.add([build()])
    assert not live.has_target("customer-1", "parser-2")
    assert not live.has_target("customer-2", "parser-1")


def test_dropping_a_build_leaves_another_of_the_same_event_alone() -> None:
    live, old, new = LiveBuilds(), build(), build()
    live.add([old])
    live.drop(old)
    live.add([new])
    live.drop(old)
    assert live.get(new.request.event_hash) is new
    assert live.has_target("customer-1", "parser-1")


def test_the_live_build_of_an_event_is_returned_rather_than_a_second_one() -> None:
    live, first = LiveBuilds(), build()
    assert live.add_unless(first, lambda: False) is first
    assert not first.entered
    assert live.add_unless(build(), lambda: False) is first
    assert live.add_unless(build(), lambda: True) is first
    assert live.settle(first)
    assert live.add_unless(build(), lambda: False) is None


def test_an_event_whose_outcome_is_known_gets_no_build() -> None:
    live = LiveBuilds()
    assert live.add_unless(build(), lambda: True) is None
    assert live.get(build().request.event_hash) is None


def test_a_build_that_has_ended_does_not_enter_the_queue() -> None:
    live, waiting, ended = LiveBuilds(), build(), build(2)
    live.settle(ended)
    assert live.enter(waiting)
    assert waiting.entered
    assert not live.enter(ended)
    assert not ended.entered


@pytest.mark.parametrize("asked", [False, True])
def test_a_build_ends_unless_it_yields_to_a_cancel(asked: bool) -> None:
    live, one = LiveBuilds(), build()
    assert not asked or live.ask_to_cancel(one)
    assert one.cancelled is asked
    assert live.settle(one, despite_cancel=False) is not asked
    assert one.settled is not asked
    assert live.settle(one)
    assert one.settled
    assert not live.ask_to_cancel(one)
    assert not one.cancelled


def test_a_build_whose_job_stays_is_not_cancelled_any_more() -> None:
    live, one = LiveBuilds(), build()
    live.ask_to_cancel(one)
    live.keep(one)
    assert not one.cancelled
    assert live.settle(one, despite_cancel=False)


def test_only_a_build_outside_the_queue_is_ended_outside_and_once() -> None:
    live, outside, inside = LiveBuilds(), build(1), build(2, entered=True)
    assert live.settle_outside(outside)
    assert outside.settled
    assert not live.settle_outside(outside)
    assert not live.settle_outside(inside)
    assert not inside.settled


def test_a_build_that_was_taken_over_while_it_was_accepted_is_queued_once() -> None:
    live, taken, accepted = LiveBuilds(), Build(make_request(1)), Build(make_request(1))
    live.add_unless(taken, lambda: False)
    assert live.enter(taken)
    assert live.add([accepted]) == []
    assert live.get(taken.request.event_hash) is taken
    result = make_result(1)
    taken.future.set_result(result)
    assert accepted.future.result(0) == result
    live.drop(taken)
    assert not live.has_target(taken.request.third_party_id, taken.request.parser_id)


def test_a_build_that_somebody_asked_for_while_it_was_accepted_takes_the_place() -> None:
    live, asked_for = LiveBuilds(), Build(make_request(1))
    live.add_unless(asked_for, lambda: False)
    assert live.add([Build(make_request(1))]) == [asked_for]
    assert asked_for.entered
