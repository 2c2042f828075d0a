"""Where the bars of the chart stand, and how a build's time is divided."""

from __future__ import annotations

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.page.chart import chart
from lambda_builder.page.rows import row, waterfall
from lambda_builder.telemetry.minutes import Totals
from tests.journals import make_request, make_result


def test_bars_are_as_high_as_what_they_count_and_stand_on_one_line():
    drawn = chart([(0, Totals()), (60, Totals(10, 8, 5, 3))])
    assert [line[1] for line in drawn.lines] == [0, 5, 10]
    ground, top = drawn.lines[0][0], drawn.lines[2][0]
    assert drawn.minutes[0].bars == ()
    bars = {bar.kind: bar for bar in drawn.minutes[1].bars}
    unit = (ground - top) / 10
    for kind, count in (("accepted", 10), ("created", 8), ("succeeded", 5), ("failed", 3)):
        assert bars[kind].height == pytest.approx(count * unit, abs=0.1)
    for kind in ("accepted", "created", "failed"):
        assert bars[kind].y + bars[kind].height == pytest.approx(ground, abs=0.1)
    # What succeeded stands upon what failed.
    assert bars["succeeded"].y + bars["succeeded"].height == pytest.approx(
        bars["failed"].y, abs=0.1
    )
    assert drawn.minutes[1].label == "00:01"


@pytest.mark.parametrize(("most", "top"), [(0, 4), (4, 4), (5, 6), (9, 10), (11, 20), (1000, 1000)])
def test_the_scale_ends_at_a_round_number(most, top):
    assert chart([(0, Totals(accepted=most))]).lines[-1][1] == top


def test_the_steps_of_a_build_follow_each_other_and_fill_its_time():
    request = make_request(1, accepted_at=100.0)
    build = make_result(
        1, BuildState.FAILED, request=request, created_at=110.0, started_at=130.0, finished_at=200.0
    )
    steps = waterfall(build, 1000.0)
    assert [(step.kind, step.left, step.width) for step in steps] == [
        ("waits", 0.0, 100.0),
        ("starts", 100.0, 200.0),
        ("bad", 300.0, 700.0),
    ]
    assert row(build, None, 1000.0).seconds == 100.0


def test_a_step_that_lasts_ends_now_and_clocks_that_differ_turn_nothing_around():
    request = make_request(1, accepted_at=100.5)
    build = make_result(1, BuildState.RUNNING, request=request, created_at=100.0, started_at=100.0)
    steps = waterfall(build, 110.5)
    assert [(step.begin, step.end) for step in steps] == [
        (100.5, 100.5),
        (100.5, 100.5),
        (100.5, None),
    ]
    assert steps[2].width == 1000.0
    assert waterfall(make_result(1, request=make_request(1, accepted_at=0.0)), 1.0) == []
