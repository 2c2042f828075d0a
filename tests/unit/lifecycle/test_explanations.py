"""Which ends' news waits for more, and for how long."""

from __future__ import annotations

from typing import Any

from lambda_builder.builds import BuildState
from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle.explanations import Explanations

ENDED = JobRecord("name-1", b"", "uid-1", b"", b"", BuildState.SUCCEEDED)


class Diagnosis:
    """Explains when it is told to."""

    def __init__(self) -> None:
        self.explained = False

    def is_explained(self, _record: JobRecord) -> bool:
        return self.explained

    def is_explaining(self, _uid: str) -> bool:
        return not self.explained

    def explain_soon(self, _record: JobRecord) -> None:
        pass


def made() -> tuple[Diagnosis, Explanations, list[float]]:
    now = [0.0]
    diagnosis: Any = Diagnosis()
    return diagnosis, Explanations(diagnosis, clock=lambda: now[0]), now


def test_one_that_waits_is_not_looked_at_again_until_it_is_explained():
    diagnosis, explanations, _ = made()
    assert not explanations.still_awaits("uid-1")
    assert explanations.awaits(ENDED)
    assert explanations.awaits(ENDED)
    assert explanations.still_awaits("uid-1")
    diagnosis.explained = True
    assert not explanations.still_awaits("uid-1")
    assert not explanations.awaits(ENDED)


def test_one_of_which_something_was_seen_is_looked_at_again():
    _, explanations, _ = made()
    explanations.awaits(ENDED)
    explanations.awaits(ENDED)
    explanations.changed("uid-1")
    assert not explanations.still_awaits("uid-1")
    assert explanations.awaits(ENDED)
    assert explanations.still_awaits("uid-1")


def test_nothing_is_waited_for_too_long_or_once_it_is_forgotten():
    _, explanations, now = made()
    for forget in (lambda: explanations.forget("uid-1"), explanations.forget_all):
        explanations.awaits(ENDED)
        explanations.awaits(ENDED)
        assert explanations.still_awaits("uid-1")
        forget()
        assert not explanations.still_awaits("uid-1")
    explanations.awaits(ENDED)
    explanations.awaits(ENDED)
    now[0] += 60.0
    assert not explanations.still_awaits("uid-1")
    assert not explanations.awaits(ENDED)
