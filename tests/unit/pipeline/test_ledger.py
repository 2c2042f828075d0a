"""What the ledger makes of changes that meet."""

from __future__ import annotations

from collections.abc import Callable

from lambda_builder.builds import BuildState
from lambda_builder.journal import NoJournal
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.announcements import Announcements
from lambda_builder.pipeline.ledger import Ledger
from lambda_builder.pipeline.live_builds import Build, LiveBuilds
from lambda_builder.pipeline.results import ResultStore
from tests.journals import make_request


def test_a_build_that_is_cancelled_while_it_is_taken_over_stays_cancelled() -> None:
    request, journal = make_request(1), NoJournal()
    results = ResultStore(ttl_seconds=60.0, maximum=10)

    class Meeting(LiveBuilds):
        """Has the cancel come as soon as the build can be found."""

        def add_unless(self, build: Build, known: Callable[[], bool]) -> Build | None:
            added = super().add_unless(build, known)
            assert added is build
            assert self.settle_outside(build)
            ledger.cancelled(build)
            return added

    announcer = Announcer(source="s", overrides={}, sink=True, dead_letters=False)
    announcements = Announcements(announcer, journal.outbox)
    ledger = Ledger(results, Meeting(), journal, announcements, namespace="ns")
    ledger.adopt(request, 0)
    assert results.by_event(request.event_hash).state is BuildState.CANCELLED
    told = journal.outbox.due(journal.outbox.now(), 10, "sink")
    assert [message.headers["ce-type"].rpartition(".")[2] for message in told] == ["cancelled"]
