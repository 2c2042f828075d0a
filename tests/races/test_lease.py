"""Replicas stand for election while requests hang, get lost and conflict: one leads, at most."""

from __future__ import annotations

from typing import Any

from lambda_builder.kube.lease import Leadership
from tests.races.conftest import Explore
from tests.races.kubernetes import Api, Client, troubles
from tests.races.orders import together
from tests.races.replica import NAMESPACE
from tests.races.scheduler import Scheduler


class Candidates:
    """Three replicas, and how often one was seen to lead."""

    def __init__(self, scheduler: Scheduler, trouble: float) -> None:
        self.scheduler = scheduler
        self.api = Api(wall=lambda: scheduler.wall + scheduler.now)
        self._trouble = trouble
        self.all = [self.stand(name) for name in ("a", "b", "c")]
        self.led: set[str] = set()

    def stand(self, name: str) -> Leadership:
        client: Any = Client(
            self.api, turn=self._look, trouble=troubles(self.scheduler.rng, self._trouble)
        )
        return Leadership(
            client,
            NAMESPACE,
            name,
            rng=self.scheduler.rng,
            clock=lambda: self.scheduler.now,
        )

    def _look(self) -> None:
        """See who leads, then let others go on, or the network take its time."""
        leaders = [each for each in self.all if each.is_leader]
        assert len(leaders) <= 1, "two replicas lead at once"
        self.led |= {str(self.all.index(each)) for each in leaders}
        self.scheduler.wait(lambda: False, self.scheduler.rng.choice((0.0, 0.1, 3.0)))


def test_never_two_lead_and_somebody_always_does_in_the_end(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        candidates = Candidates(scheduler, scheduler.rng.choice((0.0, 0.2, 0.5)))
        first, second, third = candidates.all

        def run_and_leave(candidate: Leadership) -> None:
            candidate.start()
            scheduler.wait(lambda: False, scheduler.rng.uniform(0.0, 60.0))
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
