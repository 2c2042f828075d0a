"""Replicas stand for election while requests hang, get lost and conflict: one leads, at most."""

from __future__ import annotations

from typing import Any

from lambda_builder.kube.lease import Leadership
from tests.races.conftest import Explore
from tests.races.kubernetes import Api, Client, Trouble, troubles
from tests.races.orders import together
from tests.races.replica import NAMESPACE
from tests.races.scheduler import Scheduler

CUT_OFF = 0.03
"""Chance, at each request, that a replica is cut off."""


class Candidates:
    """Three replicas, each of which the network may cut off for a while."""

    def __init__(self, scheduler: Scheduler, trouble: float) -> None:
        self.scheduler = scheduler
        self._rng = scheduler.rng
        self._trouble = troubles(scheduler.rng, trouble)
        self.api = Api(wall=lambda: scheduler.wall + scheduler.now)
        self.all = [self._stand(name) for name in ("a", "b", "c")]

    def _stand(self, name: str) -> Leadership:
        cut_off_until = 0.0

        def trouble(method: str) -> Trouble | None:
            nonlocal cut_off_until
            now = self.scheduler.now
            if self._rng.random() < CUT_OFF:
                cut_off_until = now + self._rng.uniform(5.0, 40.0)
            return "lost_request" if now < cut_off_until else self._trouble(method)

        client: Any = Client(self.api, turn=self._look, trouble=trouble)
        now = lambda: self.scheduler.now  # noqa: E731
        return Leadership(client, NAMESPACE, name, rng=self._rng, clock=now)

    def _look(self) -> None:
        """See who leads, then let others go on while the network takes its time."""
        leaders = [each for each in self.all if each.is_leader]
        assert len(leaders) <= 1, "two replicas lead at once"
        self.scheduler.wait(lambda: False, self._rng.choice((0.0, 0.1, 1.5)))


def test_never_two_lead_and_somebody_always_does_in_the_end(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        candidates = Candidates(scheduler, scheduler.rng.choice((0.0, 0.2, 0.5)))
        first, second, third = candidates.all

        def run_and_leave(candidate: Leadership) -> None:
            candidate.start()
            scheduler.wait(lambda: False, scheduler.rng.uniform(0.0, 120.0))
            candidate.resign()

        together(
            scheduler,
            lambda: run_and_leave(first),
            lambda: run_and_leave(second),
            third.start,
        )
        scheduler.wait(lambda: third.is_leader, 3600.0)
        assert third.is_leader, "nobody else is there, and the last one does not lead"
        for each in candidates.all:
            while each.stop(60.0):
                pass
            assert not each.is_leader

    in_all_orders(scenario, 100)
