"""Which ends' news is held, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle.explanations import _MOST, Explanations


def ended(number: int = 1) -> JobRecord:
    return JobRecord(f"name-{number}", b"", f"uid-{number}", b"", b"", BuildState.SUCCEEDED)


class Diagnosis:
    """Explains when it is told to."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.asked: list[str] = []
        self.given_up: set[str] = set()
        self.fails = False

    def is_explained(self, record: JobRecord) -> bool:
        return record.uid in self.found

    def is_explaining(self, uid: str) -> bool:
        return uid in self.asked and uid not in self.found | self.given_up

    def explained(self, uids: Mapping[str, object]) -> set[str]:
        return self.found & uids.keys()

    def explain_soon(self, record: JobRecord) -> None:
        if self.fails:
            raise RuntimeError("no")
        self.asked.append(record.uid)


def made() -> tuple[Diagnosis, Explanations, list[float]]:
    now = [0.0]
    diagnosis: Any = Diagnosis()
    return diagnosis, Explanations(diagnosis, clock=lambda: now[0]), now


def test_one_is_held_until_it_is_explained_and_asked_about_once():
    diagnosis, explanations, _ = made()
    assert explanations.holds(ended())
    assert explanations.over() == {}
    assert explanations.holds(ended())
    diagnosis.found.add("uid-1")
    assert explanations.over() == {"uid-1": "name-1"}
    assert explanations.over() == {}
    assert not explanations.holds(ended())
    assert diagnosis.asked == ["uid-1"]


def test_one_of_which_something_was_seen_is_held_again_only_when_it_was_looked_at():
    diagnosis, explanations, _ = made()
    explanations.holds(ended())
    explanations.let_go("uid-1")
    diagnosis.found.add("uid-1")
    assert explanations.over() == {}
    diagnosis.found.clear()
    assert explanations.holds(ended())
    diagnosis.found.add("uid-1")
    assert explanations.over() == {"uid-1": "name-1"}


def test_one_that_nothing_is_found_out_about_is_held_no_longer():
    diagnosis, explanations, _ = made()
    explanations.holds(ended())
    diagnosis.given_up.add("uid-1")
    assert explanations.over() == {"uid-1": "name-1"}
    assert not explanations.holds(ended())


def test_one_is_not_held_too_long():
    _, explanations, now = made()
    explanations.holds(ended())
    now[0] += 14.0
    assert explanations.over() == {}
    now[0] += 1.0
    assert explanations.over() == {"uid-1": "name-1"}
    assert not explanations.holds(ended())


def test_one_that_is_forgotten_is_asked_about_again():
    diagnosis, explanations, _ = made()
    for forget in (lambda: explanations.forget("uid-1"), explanations.forget_all):
        assert explanations.holds(ended())
        forget()
        diagnosis.found.add("uid-1")
        assert explanations.over() == {}
        diagnosis.found.clear()
    assert explanations.holds(ended())
    assert diagnosis.asked == ["uid-1"] * 3


def test_beyond_so_many_each_is_held_until_its_turn_or_until_another_explains_it():
    diagnosis, explanations, _ = made()
    assert all(explanations.holds(ended(number)) for number in range(_MOST + 4))
    assert len(diagnosis.asked) == _MOST
    diagnosis.found.add(f"uid-{_MOST + 2}")
    assert [*explanations.over()] == [f"uid-{_MOST + 2}"]
    diagnosis.found.add("uid-7")
    assert [*explanations.over()] == ["uid-7"]
    assert explanations.over() == {}, "the one that is over is not told of yet"
    explanations.forget("uid-7")
    assert [*explanations.over()] == [f"uid-{_MOST}"]
    assert explanations.holds(ended(_MOST))
    assert diagnosis.asked[_MOST:] == [f"uid-{_MOST}"]
    assert explanations.over() == {}
    explanations.forget(f"uid-{_MOST + 1}")
    explanations.forget("uid-9")
    assert [*explanations.over()] == [f"uid-{_MOST + 3}"]


def test_those_that_wait_have_their_turns_in_order_and_before_others():
    diagnosis, explanations, _ = made()
    for number in range(_MOST + 20):
        explanations.holds(ended(number))
    for number in range(5):
        explanations.forget(f"uid-{number}")
    assert explanations.holds(ended(1000)), "there is room, but others wait for it"
    turns = explanations.over()
    assert [*turns] == [f"uid-{_MOST + number}" for number in range(5)]
    assert explanations.holds(ended(1001))
    assert explanations.over() == {}, "the room is for those whose turn it is"
    assert all(explanations.holds(ended(_MOST + number)) for number in range(5))
    assert diagnosis.asked[_MOST:] == [*turns]


def test_a_turn_that_is_not_taken_is_the_next_ones():
    _, explanations, _ = made()
    for number in range(_MOST + 2):
        explanations.holds(ended(number))
    explanations.forget("uid-0")
    assert [*explanations.over()] == [f"uid-{_MOST}"]
    explanations.forget(f"uid-{_MOST}")
    assert [*explanations.over()] == [f"uid-{_MOST + 1}"]


def test_one_that_could_not_be_asked_about_takes_no_room():
    diagnosis, explanations, _ = made()
    diagnosis.fails = True
    for number in range(_MOST + 1):
        with pytest.raises(RuntimeError):
            explanations.holds(ended(number))
    diagnosis.fails = False
    assert explanations.holds(ended(0))
    assert diagnosis.asked == ["uid-0"]
