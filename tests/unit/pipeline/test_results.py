"""The result store: what is remembered, for how long, and that nothing outlives it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    job_name,
    netstring_digest,
)
from lambda_builder.pipeline.results import ResultStore


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def result(
    number: int, state: BuildState = BuildState.QUEUED, *, correlation_id: str | None = None
) -> BuildResult:
    digest = netstring_digest("source", str(number))
    return BuildResult(
        request=BuildRequest(
            event_id=str(number),
            event_source="source",
            event_type="type",
            parser_id=f"parser-{number}",
            third_party_id="tenant",
            correlation_id=correlation_id or f"correlation-{number}",
            event_hash=digest,
            job_name=job_name("tenant", f"parser-{number}", digest),
        ),
        state=state,
    )


def store(clock: Clock | None = None, *, maximum: int = 100) -> ResultStore:
    return ResultStore(ttl_seconds=60, maximum=maximum, timer=clock or Clock())


def test_a_build_is_found_by_event_job_name_and_correlation_id() -> None:
    results, build = store(), result(1)
    results.put(build)
    assert results.by_event(build.request.event_hash) is build
    assert results.by_id(build.request.job_name) == [build]
    assert results.by_id("correlation-1") == [build]
    assert results.by_id("unknown") == []


def test_builds_that_share_a_correlation_id_come_newest_first() -> None:
    results = store()
    builds = [result(number, correlation_id="shared") for number in range(3)]
    for build in builds:
        results.put(build)
    assert results.by_id("shared") == builds[::-1]


def test_a_build_that_waits_is_never_forgotten() -> None:
    clock = Clock()
    results = store(clock, maximum=1)
    waiting = result(1, BuildState.RETRYING)
    results.put(waiting)
    for number in range(2, 10):
        results.put(result(number, BuildState.CREATED))
    clock.now = 1e9
    results.sweep()
    assert results.by_id("correlation-1") == [waiting]


@pytest.mark.parametrize("state", [BuildState.CREATED, BuildState.RUNNING])
def test_a_build_whose_job_has_not_ended_does_not_expire(state: BuildState) -> None:
    clock = Clock()
    results = store(clock)
    results.put(result(1, state))
    clock.now = 1e9
    results.sweep()
    assert results.by_id("correlation-1")[0].state is state
    results.put(result(1, BuildState.SUCCEEDED))
    clock.now += 60
    assert results.by_id("correlation-1") == []


def test_the_ttl_runs_from_the_end_not_from_the_acceptance() -> None:
    clock = Clock()
    results = store(clock)
    results.put(result(1))
    clock.now = 50
    results.put(result(1, BuildState.SUCCEEDED))
    clock.now = 109
    assert results.by_id("correlation-1")
    clock.now = 110
    assert not results.by_id("correlation-1")


def test_the_sweeper_frees_expired_builds_with_every_index_entry() -> None:
    clock = Clock()
    results = store(clock)
    for number in range(50):
        results.put(result(number, BuildState.FAILED))
    clock.now = 61
    results.sweep()
    assert results.ended_count == 0
    assert len(results._index) == 0


def test_beyond_the_maximum_the_oldest_goes_with_its_index_entries() -> None:
    results = store(maximum=3)
    for number in range(10):
        results.put(result(number, BuildState.CREATED))
    assert results.ended_count == 3
    assert len(results._index) == 6
    assert results.by_id("correlation-6") == []
    assert results.by_id("correlation-9")


def test_an_event_that_comes_back_after_its_result_expired_is_found_again() -> None:
    clock = Clock()
    results = store(clock)
    results.put(result(1, BuildState.CREATED))
    clock.now = 61
    again = result(1)
    results.put(again)
    results.sweep()
    assert results.by_id("correlation-1") == [again]
    assert results.by_event(again.request.event_hash) is again


def test_a_change_is_seen_by_all_readers_and_unknown_builds_are_left_alone() -> None:
    results, build = store(), result(1)
    results.put(build)
    changed = results.change(
        build.request.event_hash, lambda old: old.but(state=BuildState.CREATED)
    )
    assert changed is not None
    assert results.by_id("correlation-1") == [changed]
    assert results.ended_count == 1
    assert results.change("nobody", lambda old: old) is None


def test_a_build_that_goes_again_waits_again() -> None:
    clock = Clock()
    results = store(clock)
    results.put(result(1, BuildState.DEAD))
    results.put(result(1, BuildState.QUEUED))
    clock.now = 1e6
    assert results.by_id("correlation-1")[0].state is BuildState.QUEUED
    assert results.ended_count == 0


def test_a_refused_build_leaves_nothing_behind() -> None:
    results, build = store(), result(1)
    results.put(build)
    results.discard(build.request.event_hash)
    assert results.by_event(build.request.event_hash) is None
    assert len(results._index) == 0


def test_all_are_told_whatever_became_of_them_but_none_that_has_expired() -> None:
    clock = Clock()
    results = store(clock)
    for number, state in enumerate(BuildState):
        results.put(result(number, state))
    assert sorted(build.state for build in results.all()) == sorted(BuildState)
    clock.now = 61
    assert not any(build.state.final for build in results.all())


def test_reading_a_build_does_not_keep_it_longer_than_those_that_came_later() -> None:
    results = store(maximum=2)
    for number in range(2):
        results.put(result(number, BuildState.CREATED))
    assert results.by_id("correlation-0")
    results.put(result(2, BuildState.CREATED))
    assert [build.request.event_id for build in results.all()] == ["1", "2"]


def test_an_id_shared_by_many_builds_is_freed_with_the_last_of_them() -> None:
    clock = Clock()
    results = store(clock)
    for number in range(3):
        results.put(result(number, BuildState.SUCCEEDED, correlation_id="shared"))
        clock.now += 10
    clock.now = 65
    assert [found.request.event_id for found in results.by_id("shared")] == ["2", "1"]
    clock.now = 75
    assert [found.request.event_id for found in results.by_id("shared")] == ["2"]
    clock.now = 100
    results.sweep()
    assert len(results._index) == 0


def test_the_time_of_what_an_earlier_process_ended_runs_from_its_end() -> None:
    clock = Clock()
    results = store(clock)
    clock.now = 5.0
    aged = [(70.0, 1), (50.0, 2), (10.0, 3)]
    results.remember([(age, result(number, BuildState.DEAD)) for age, number in aged])
    results.put(result(4, BuildState.DEAD))

    def known() -> list[int]:
        return [number for number in range(1, 5) if results.by_id(f"correlation-{number}")]

    assert known() == [2, 3, 4]
    clock.now = 16.0
    assert known() == [3, 4]
    clock.now = 56.0
    assert known() == [4]
    clock.now = 66.0
    assert known() == []


def heavy(number: int, size: int, state: BuildState = BuildState.CREATED) -> BuildResult:
    build = result(number, state)
    return build.but(request=replace(build.request, event=size * b"x"))


def held(results: ResultStore, builds: list[BuildResult]) -> list[bool]:
    """Tell of each build that is remembered whether it still has its event."""
    found = [results.by_event(build.request.event_hash) for build in builds]
    return [bool(build.request.event) for build in found if build is not None]


def test_beyond_the_bytes_the_oldest_lose_their_events_and_stay_known() -> None:
    results = ResultStore(ttl_seconds=60, maximum=100, max_bytes=10_000)
    builds = [heavy(number, 2_000) for number in range(10)]
    for build in builds:
        results.put(build)
    assert held(results, builds) == [False] * 6 + [True] * 4
    assert results.by_id("correlation-0")[0].state is BuildState.CREATED


def test_beyond_the_bytes_the_oldest_go_when_no_event_is_left_to_drop() -> None:
    results = ResultStore(ttl_seconds=60, maximum=100, max_bytes=1_000)
    for number in range(50):
        results.put(result(number, BuildState.DEAD, correlation_id=str(number) * 100))
    assert 0 < results.ended_count < 10
    assert results.by_id("0" * 100) == []
    assert results.by_id("49" * 100) != []


def test_the_event_of_a_build_that_waits_is_never_dropped() -> None:
    results = ResultStore(ttl_seconds=60, maximum=100, max_bytes=1_000)
    waiting = heavy(1, 50_000, BuildState.RETRYING)
    results.put(waiting)
    results.put(heavy(2, 50_000))
    assert held(results, [waiting]) == [True]


def test_losing_its_event_does_not_make_an_outcome_young_again() -> None:
    clock = Clock()
    results = ResultStore(ttl_seconds=60, maximum=100, max_bytes=3_000, timer=clock)
    results.put(heavy(1, 2_000, BuildState.DEAD))
    clock.now = 59
    results.put(heavy(2, 2_000, BuildState.DEAD))
    clock.now = 61
    assert results.by_id("correlation-1") == []
    assert results.by_id("correlation-2") != []


def test_a_skipped_build_is_found_by_its_own_id_and_hides_no_other_of_its_job() -> None:
    results, built = store(), result(1, BuildState.RUNNING)
    results.put(built)
    waits = result(2)
    results.put(waits.but(request=replace(waits.request, job_name=built.request.job_name)))
    known = results.by_id("correlation-2")[0]
    results.put(known.but(state=BuildState.CANCELLED, error=BuildError("skipped", "busy")))
    assert results.by_id(built.request.job_name) == [built]
    assert results.by_id("correlation-2")[0].skipped


@pytest.mark.parametrize("state", list(BuildState))
def test_only_what_may_go_again_keeps_its_event(state: BuildState) -> None:
    results, build = store(), heavy(1, 100)
    results.put(build)
    results.put(build.but(state=state))
    goes_on = state not in (BuildState.SUCCEEDED, BuildState.CANCELLED)
    assert held(results, [build]) == [goes_on]
    found = results.by_id("correlation-1")
    assert [each.state for each in found] == [state]
    assert found[0].request.without_event() == build.request.without_event()


def test_more_that_is_found_out_about_an_end_does_not_make_it_young_again() -> None:
    clock = Clock()
    results, failed = store(clock), result(1, BuildState.FAILED)
    results.put(failed)
    clock.now = 50
    results.put(failed.but(error=BuildError("job_failed", "out of memory")))
    clock.now = 59
    assert results.by_id("correlation-1")[0].error is not None
    clock.now = 61
    assert results.by_id("correlation-1") == []
    assert results.ended_count == 0


def test_a_build_that_went_again_is_forgotten_when_its_last_end_is_old_enough() -> None:
    clock = Clock()
    results = store(clock)
    for state in (BuildState.DEAD, BuildState.QUEUED, BuildState.RUNNING, BuildState.FAILED):
        results.put(result(1, state))
        clock.now += 50
    assert results.ended_count == 1
    assert results.by_id("correlation-1")[0].state is BuildState.FAILED
    clock.now = 211
    assert results.by_id("correlation-1") == []
    assert results.ended_count == 0
