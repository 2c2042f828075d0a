"""A primary that is gone for ever, and the standby that takes its place."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambda_builder.builds import BuildState
from lambda_builder.errors import Refused
from lambda_builder.journal.interface import Claim
from lambda_builder.journal.postgres.store import PostgresJournal
from tests.journals import make_message, make_request, make_result, shared_journal
from tests.postgres_server import PostgresServer, replicated
from tests.waiting import wait_until

from .senders import Senders

BACK_SECONDS = 5.0
"""How soon events are taken again once the standby is the primary."""
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
HASHES = "SELECT event_hash FROM builds"


def event_hash(number: int) -> str:
    return make_request(number).event_hash


@pytest.fixture
def pair(postgres_files) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    with replicated(postgres_files) as both:
        yield both


@pytest.fixture
def journal_of(pair) -> Iterator[Callable[..., PostgresJournal]]:
    """Opens journals of replicas that know both servers."""
    primary, standby = pair
    name = primary.new_database()
    url = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{name}"
    journals = []

    def open_one(replica: str, **options: Any) -> PostgresJournal:
        journals.append(shared_journal(url, replica, lease_seconds=5.0, **options))
        journals[-1].open()
        return journals[-1]

    yield open_one
    for journal in journals:
        journal.close(10.0)


def test_a_failover_to_a_synchronous_standby_loses_and_doubles_nothing(pair, journal_of):
    primary, standby = pair
    with pytest.raises(Refused, match="read-only"):
        shared_journal(standby.url()).open()
    first, second = journal_of("first"), journal_of("second")
    first.record([make_request(1), make_request(2)])
    assert first.attempt(event_hash(1), 1) is Claim.GRANTED
    first.finish(make_result(1, state=BuildState.CANCELLED), [make_message(1)])
    assert first.flush(BACK_SECONDS)
    senders = [Senders(first), Senders(second, first=1_000_000)]
    with contextlib.ExitStack() as stack:
        for each in senders:
            stack.enter_context(each.at_work())
        wait_until(lambda: all(len(each.accepted) > 50 for each in senders), "some events", 20)
        sender = primary.child("walsender")
        sender.suspend()
        wait_until(lambda: primary.execute(WAITING), "a commit that waits for the standby", 20)
        sender.kill()
        primary.stop(signal.SIGQUIT)
        wait_until(lambda: all(each.refused for each in senders), "events to be refused", 20)
        standby.execute("SELECT pg_promote()")
        before, started = [len(each.accepted) for each in senders], time.monotonic()
        wait_until(
            lambda: all(
                len(each.accepted) > 2 * n for each, n in zip(senders, before, strict=True)
            ),
            "as many again",
            20,
        )
    for each in senders:
        assert min(at for at in each.accepted.values() if at > started) - started < BACK_SECONDS
    assert first.stats()["leases_lost"] == second.stats()["leases_lost"] == 0
    assert first.find(event_hash(1)).state is BuildState.CANCELLED
    assert first.attempt(event_hash(2), 1) is Claim.GRANTED
    _check(standby, first, second, senders)


def _check(standby, first, second, senders) -> None:
    name = first._server.parameters()["dbname"]
    stored = [each for (each,) in standby.execute(HASHES, database=name)]
    accepted = {event_hash(number) for each in senders for number in each.accepted}
    refused = {event_hash(number) for each in senders for number in each.refused}
    assert len(stored) == len(set(stored))
    assert accepted <= set(stored) <= accepted | refused | {event_hash(1), event_hash(2)}
    # What was refused though it is there is taken up by one of the two, once.
    taken = [build.request.event_hash for each in (first, second) for build in each.take_over(9999)]
    assert sorted(taken) == sorted(set(stored) & refused)
