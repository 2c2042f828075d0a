"""Work in steps: what it waits for in a thread and in a loop, and what is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from lambda_builder.steps import Ending, Steps, UntilEnding, Work
from tests.waiting import wait_until


class Errand:
    """Is over when the test says so."""

    seconds = 10.0

    def __init__(self) -> None:
        self.over = threading.Event()
        self.thens: list[Callable[[], object]] = []

    def wait(self) -> None:
        assert self.over.wait(10)

    def begin(self, then: Callable[[], object]) -> None:
        self.thens.append(then)

    def give_up(self) -> None:
        self.over.set()


def test_a_loop_gets_each_pause_and_then_the_result() -> None:
    first, second = Errand(), Errand()

    def steps() -> Steps[str]:
        yield first
        yield second
        return "done"

    work = Work(steps())
    assert [work.go_on(), work.go_on()] == [first, second]
    assert not work.is_over
    assert work.go_on() is None
    assert (work.is_over, work.result) == (True, "done")


def test_a_thread_waits_for_each_pause_and_returns_the_result() -> None:
    errand = Errand()

    def steps() -> Steps[bool]:
        yield errand
        yield None
        return errand.over.is_set()

    threading.Timer(0.01, errand.over.set).start()
    assert Work(steps()).finish() is True


def test_what_a_loop_began_a_thread_can_end() -> None:
    entered: list[str] = []

    def steps() -> Steps[str]:
        entered.append("loop")
        yield None
        entered.append("thread")
        return "done"

    work = Work(steps(), lambda: entered.append("may wait"))
    assert work.go_on() is None
    assert not work.is_over
    assert work.finish() == "done"
    assert entered == ["loop", "may wait", "thread"]


def test_no_thread_is_entered_for_what_never_waits() -> None:
    def steps() -> Steps[str]:
        yield from ()
        return "done"

    assert Work(steps(), lambda: pytest.fail("entered")).finish() == "done"


def test_where_a_thread_cannot_be_entered_the_steps_are_told_and_may_go_on() -> None:
    def steps() -> Steps[str]:
        try:
            yield None
        except RuntimeError as error:
            yield None
            return f"refused: {error}"
        return "done"

    def refuse() -> None:
        raise RuntimeError("too many")

    assert Work(steps(), refuse).finish() == "refused: too many"


def test_an_ending_is_told_once_to_all_who_wait_and_at_once_to_who_comes_late() -> None:
    ending, told = Ending(), list[int]()
    for number in range(3):
        ending.tell(lambda number=number: told.append(number))  # type: ignore[misc]
    assert told == []
    ending.come()
    ending.tell(lambda: told.append(3))
    assert told == [0, 1, 2, 3]


def test_a_wait_ends_when_its_ending_comes() -> None:
    ending = Ending()
    wait = UntilEnding(ending, seconds=10)
    thread = threading.Thread(target=wait.wait)
    thread.start()
    ending.come()
    thread.join(5)
    assert not thread.is_alive()
    assert wait.came


@pytest.mark.parametrize("late", [False, True])
def test_a_wait_that_is_given_up_goes_on_once_whatever_comes_later(late: bool) -> None:
    ending, told = Ending(), list[bool]()
    wait = UntilEnding(ending, seconds=10)
    wait.begin(lambda: told.append(wait.came))
    wait.give_up()
    if late:
        ending.come()
        wait.give_up()
    assert told == [False]


def test_a_thread_waits_no_longer_than_it_is_to() -> None:
    wait = UntilEnding(Ending(), seconds=0.01)
    thread = threading.Thread(target=wait.wait)
    thread.start()
    wait_until(lambda: not thread.is_alive(), "the end of the wait")
    assert not wait.came
